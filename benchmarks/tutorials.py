"""The pages of docs/tutorials: runs what they show, and writes what came out into them.

    python benchmarks/tutorials.py run [PAGE ...]     # all pages, without names
    python benchmarks/tutorials.py table              # what the meta-models are worth, into the index

A page's blocks are run in their order in an empty folder: ``python`` blocks share their names, and a ``text`` block after one
holds what it printed; in ``console`` blocks what follows a line ``$ command`` is what that printed.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PAGES = Path(__file__).parents[1] / "docs/tutorials"
INDEX = PAGES / "README.md"
BEGIN, END = "<!-- worth: written by `python benchmarks/tutorials.py table` -->\n", "<!-- end -->"


def ran(text: str) -> Iterator[tuple[str, str, str, str]]:
    """Run a page in the working folder: of each command and each block that prints (language, what was run, what the page
    says that it prints, what it printed)."""
    names: dict = {}
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)
    following = [*(blocks[1:]), ("", "")]
    for (language, body), (after, said) in zip(blocks, following, strict=True):
        if language == "python":
            printed = _executed(body, names)
            if after == "text":
                yield language, body, said, printed
        elif language == "console":
            for command, _, said in (part.partition("\n") for part in re.split(r"^\$ ", body, flags=re.M)[1:]):
                yield language, command, said, _commanded(command)


def _executed(code: str, names: dict) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(code, "page", "exec"), names)
    return said.getvalue()


def _commanded(command: str) -> str:
    from click.testing import CliRunner

    from metabench.cli import main

    words = shlex.split(command)
    words, target = (words[:-2], words[-1]) if ">" in words else (words, None)
    if words[0] == "python":
        return _executed(Path(words[1]).read_text(), {"__name__": "__main__"})
    found = CliRunner().invoke(main, words[1:], standalone_mode=False)
    if found.exception is not None:
        raise RuntimeError(f"{command}: {found.exception}") from found.exception
    if target is None:
        return found.stdout
    Path(target).write_text(found.stdout)
    return ""


def refreshed(text: str) -> str:
    """A page with what its commands print now."""
    for language, body, said, printed in ran(text):
        printed = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
        if language == "console":
            text = text.replace(f"$ {body}\n{said}", f"$ {body}\n{printed}", 1)
        else:
            text = text.replace(f"{body}```\n\n```text\n{said}```", f"{body}```\n\n```text\n{printed}```", 1)
    return text


def table() -> str:
    """What each meta-model learned from, and what it is worth on a task that it did not see, beside random draws."""
    from metabench import pretrained

    lines = [
        "| workload | tasks | runs | rank correlation | regret at 1 | at 5 | at 10 | random at 1 | at 5 | at 10 |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for workload in sorted({name.rpartition("-v")[0] for name in pretrained.names()}):
        record = pretrained.for_workload(workload).record
        figures = [record.measured.get(k) for k in _FIGURES]
        if record.workload != "mlp":
            cells = (record.workload, record.tasks, f"{record.runs:,}", *(f"{v:.2f}" for v in figures))
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


_FIGURES = ("spearman", *(f"{of}_{k}" for of in ("regret", "random") for k in (1, 5, 10)))


def main(words: list[str]) -> None:
    if words == ["table"]:
        text = INDEX.read_text()
        INDEX.write_text(text[: text.index(BEGIN) + len(BEGIN)] + table() + text[text.index(END) :])
        return
    if words[:1] != ["run"]:
        sys.exit(__doc__)
    for page in map(Path, words[1:]) if words[1:] else sorted(set(PAGES.glob("*.md")) - {INDEX}):
        page, here = page.resolve(), Path.cwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                page.write_text(refreshed(page.read_text()))
            finally:
                os.chdir(here)
        print(page.name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
