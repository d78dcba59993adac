"""The reference results of workloads: what chance, a standard method and the defaults reach.

``docs/workloads.json`` holds them; the site's pages and ``docs/workloads.md`` are made of it:

    python -m metabench.publishing.pages.references docs/workloads.json > docs/workloads.md
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from metabench.errors import MetabenchError

#: columns of a line of generated Markdown
WIDTH = 125


@dataclass(frozen=True)
class Reference:
    """One section: paragraphs as HTML, and its tables as rows of cells, the first the head."""

    paragraphs: list[Markup]
    tables: list[list[list[Markup]]]


def load(path: Path) -> dict[str, Any]:
    """The file of references: ``title``, and ``sections`` of a ``name`` and ``blocks``; those of the first section, which has no
    name, stand before all others. A block is a ``text``, a line of ``code``, or a table of ``columns`` and ``rows`` of texts.

    Raises:
        MetabenchError: The file cannot be read, or does not hold that.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        for section in held["sections"]:
            for block in section["blocks"]:
                if "rows" in block and any(len(row) != len(block["columns"]) for row in block["rows"]):
                    raise ValueError(f"section {section['name']!r}: a row has not as many cells as there are columns")
                if not {"text", "code", "rows"} & block.keys():
                    raise ValueError(f"section {section['name']!r}: a block is no text, code or table")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MetabenchError(f"{path} cannot be read as references: {error}") from None
    return held


def read(path: Path, workload: str) -> Reference | None:
    """What a file of references says of a workload; None where it says nothing, or there is no file.

    Raises:
        MetabenchError: The file is damaged.
    """
    if not path.is_file():
        return None
    blocks = next((s["blocks"] for s in load(path)["sections"] if s["name"] == workload), None)
    if blocks is None:
        return None
    tables = [[b["columns"], *b["rows"]] for b in blocks if "rows" in b]
    return Reference(
        [_inline(b["text"]) for b in blocks if "text" in b],
        [[[_inline(cell) for cell in row] for row in table] for table in tables],
    )


def markdown(held: dict[str, Any]) -> str:
    """All references as one page of Markdown."""
    parts = [f"# {held['title']}"]
    for section in held["sections"]:
        parts += [f"## {section['name']}"] if section["name"] else []
        parts += [_block(block) for block in section["blocks"]]
    return "\n\n".join(parts) + "\n"


def _block(block: dict[str, Any]) -> str:
    if "text" in block:
        return textwrap.fill(block["text"], WIDTH, break_long_words=False, break_on_hyphens=False)
    if "code" in block:
        return f"    {block['code']}"
    numeric = [
        all(re.fullmatch(r"[-−]?\d+(\.\d+)?", row[i]) for row in block["rows"]) for i in range(len(block["columns"]))
    ]
    rule = ["---:" if number else "---" for number in numeric]
    lines = [f"| {' | '.join(row)} |" for row in (block["columns"], *block["rows"])]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def _inline(text: str) -> Markup:
    """A line of Markdown: escaped, code and emphasis marked up."""
    out = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text.strip())))
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", out))


if __name__ == "__main__":
    sys.stdout.write(markdown(load(Path(sys.argv[1]))))
