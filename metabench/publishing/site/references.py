"""The reference results of a workload, out of docs/workloads.md: what chance, a standard method and the defaults reach."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape


@dataclass(frozen=True)
class Reference:
    """One section: paragraphs as HTML, and its tables as rows of cells, the first the head."""

    paragraphs: list[Markup]
    tables: list[list[list[Markup]]]


def read(path: Path, workload: str) -> Reference | None:
    """The section ``## workload`` of a Markdown file of paragraphs and pipe tables; None where there is none."""
    if not path.is_file():
        return None
    sections = re.split(r"^## +(.+?) *$", path.read_text(encoding="utf-8"), flags=re.M)
    bodies = dict(zip(sections[1::2], sections[2::2], strict=True))
    if workload not in bodies:
        return None
    paragraphs, tables = [], []
    for block in re.split(r"\n\s*\n", bodies[workload].strip()):
        lines = block.strip().splitlines()
        if lines and all(line.lstrip().startswith("|") for line in lines):
            rows = [[_inline(cell) for cell in line.strip().strip("|").split("|")] for line in lines]
            tables.append([rows[0], *rows[2:]])
        elif lines:
            paragraphs.append(_inline(" ".join(lines)))
    return Reference(paragraphs, tables)


def _inline(text: str) -> Markup:
    """A line of Markdown: escaped, code and emphasis marked up."""
    out = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text.strip())))
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", out))
