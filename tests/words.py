"""Lists sentences that are hard to read: `python tests/words.py [README.md docs help errors api pages ...]`.

A finding is a sentence of over 30 words, a number such as .107 without its zero, a hyphen as minus sign, or a word that
the project does not use in that sense. Code, commands and their output are left out, and so are the docstrings of
methods and workloads that pages quote (the class ``docstring``). Exit status 1 if anything is found.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONGEST = 30

#: pattern → what to write instead
BANNED = {
    r"\bthoughts?\b": "computing time",
    r"\balike\b": "similar, the same",
    r"\btold\b": "reported, given",
    r"\bmade to order\b": "live",
    r"\bown starts?\b": "own first trials",
    r"\b(in|keeps?) company\b": "batch",
    r"\bcomes? again\b": "is reproduced",
    r"\bsa(y|ys|id) of\b": "predict, describe",
    r"\bstands? (in|on|below|above|beside|under|there|here)\b": "is listed, is",
    r"\bleaves? (a regret|\.?\d)": "reaches a regret of",
    r"\bto be had\b": "is available",
    r"\b[Ww]hom\b": "name the person or thing",
    r"\bgoes? with none\b": "does not depend on",
    r"\bthe first(?=[,;.)]|$| and (in|of|the) )": "the leading method, the first trial",
    r"^(What|Who|That which) [^?]*\.$": "a noun as subject",
}
NUMBER = re.compile(r"(?<![\w.…*/])[−-]?\.\d+")
MINUS = re.compile(r"(?:(?<=[\s(\[|])|^)-\.?\d+(\.\d+)?(?![\w-])")
END = re.compile(r"(?<=[.!?])[\"”)*_]*\s+(?=[\"“(*_`§]*[A-Z0-9§])")
ABBREVIATION = re.compile(r"\b(e\.g|i\.e|et al|vs|cf|Eq|[A-Z])\.$")


def findings(text: str) -> Iterator[str]:
    """What is wrong with one piece of plain text, a line for each fault."""
    for sentence in sentences(text):
        words = [w for w in sentence.split() if re.search(r"\w", w)]
        if len(words) > LONGEST and sentence.count(",") < 0.8 * len(words):  # a list of names is no sentence
            yield f"{len(words)} words: {sentence}"
        for found in NUMBER.finditer(sentence):
            yield f"write 0{found.group().lstrip('-−')}: {sentence}"
        for found in MINUS.finditer(sentence):
            yield f"write −{found.group()[1:]}: {sentence}"
        for pattern, instead in BANNED.items():
            if found := re.search(pattern, sentence):
                yield f"'{found.group()[:30]}' ({instead}): {sentence}"


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph; an abbreviation ends none. The items of a list after a colon count one by one."""
    out: list[str] = []
    for part in END.split(" ".join(text.split())):
        if out and ABBREVIATION.search(out[-1]):
            out[-1] += " " + part
        else:
            out.append(part)
    items = (s.split(";") if s.count(";") > 1 and ":" in s.partition(";")[0] else [s] for s in out)
    return [s.strip() for parts in items for s in parts if s.strip()]


# ---------------------------------------------------------------- sources of text
def markdown(text: str) -> Iterator[str]:
    """The paragraphs, items and cells of a Markdown page, without code."""
    text = re.sub(r"^(?P<fence> *(```+|~~~+))[^\n]*\n.*?^(?P=fence)[^\n]*$", "\n\n", text, flags=re.S | re.M)
    text = re.sub(r"<!--.*?-->", "\n\n", text, flags=re.S)
    text = re.sub(r"^---\n.*?\n---\n", "", text, flags=re.S)
    text = re.sub(r"``[^`]+``|`[^`\n]+(\n[^`\n]+)?`", "Code", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"!?\[([^\]]*)\]\[[^\]]*\]", r"\1", text)
    text = re.sub(r"https?://\S+", "link", text)
    text = re.sub(r"<[^>\n]+>", " ", text)
    for block in re.split(r"\n\s*\n|\n(?=\s*([-*+]|\d+\.) )|^#+ .*$|\n(?=:::)", text, flags=re.M):
        if not block or not block.strip() or re.fullmatch(r"[-*+]|\d+\.", block.strip()):
            continue
        lines = block.strip("\n").split("\n")
        rows = [line for line in lines if line.lstrip().startswith("|")]
        rest = [re.sub(r"^\s*([-*+>]|\d+\.) +", "", line) for line in lines if not line.lstrip().startswith("|")]
        if all(line.startswith("    ") for line in lines):
            continue  # an indented block of code
        yield re.sub(r"[*_]{1,2}(?=\S)|(?<=\S)[*_]{1,2}", "", " ".join(rest))
        for row in rows:
            yield from (
                cell.strip() for cell in row.strip().strip("|").split("|") if not re.fullmatch(r"[\s:-]*", cell)
            )


class _Page(HTMLParser):
    """The blocks of text of a page, without code, drawings, styles, scripts and what it takes from docstrings of modules."""

    SILENT = ("script", "style", "svg", "pre", "samp")
    INLINE = (
        "a",
        "b",
        "i",
        "em",
        "strong",
        "small",
        "abbr",
        "span",
        "sub",
        "sup",
        "code",
        "time",
        "dfn",
        "br",
        "kbd",
        "var",
    )

    def __init__(self, text: str):
        super().__init__()
        self.blocks: list[str] = [""]
        self.described = 'docstring">' in text  # its description is a docstring's, too
        self.depth, self.code, self.quoted = 0, 0, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if not self.quoted and "docstring" in (dict(attrs).get("class") or "").split():
            self.quoted = tag
            self.blocks.append("")
        if tag in self.SILENT:
            self.depth += 1
        elif tag == "code":
            self.code += 1
            self.blocks[-1] += "Code"
        elif tag not in self.INLINE:
            self.blocks.append("")
        found = dict(attrs)
        if tag == "meta" and found.get("name") == "description" and not self.described:
            self.blocks.append(found.get("content") or "")
            self.blocks.append("")
        if found.get("title") and not self.depth:
            self.blocks.insert(-1, found["title"] or "")

    def handle_endtag(self, tag):
        if tag == self.quoted:
            self.quoted = ""
        if tag in self.SILENT:
            self.depth = max(0, self.depth - 1)
        elif tag == "code":
            self.code = max(0, self.code - 1)
        elif tag not in self.INLINE:
            self.blocks.append("")

    def handle_data(self, data):
        if not self.depth and not self.code and not self.quoted:
            self.blocks[-1] += data


def page(text: str) -> list[str]:
    return [block for block in _Page(text).blocks if block.strip()]


def help_texts() -> Iterator[tuple[str, str]]:
    """(command, help) of every command, argument and option."""
    import click

    from metabench.cli import main

    def walk(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
        for part in re.split(r"\n\s*\n", command.help or ""):
            if not part.lstrip().startswith("\b"):
                yield name, part
        for parameter in command.params:
            if text := getattr(parameter, "help", None):
                yield f"{name} {parameter.opts[0]}", text
        if isinstance(command, click.Group):
            for child in command.list_commands(click.Context(command)):
                found = command.get_command(click.Context(command), child)
                if found is not None:
                    yield from walk(found, f"{name} {child}")

    yield from walk(main, "metabench")


def error_texts() -> Iterator[tuple[str, str]]:
    """(file and line, text) of what is raised as one of our errors, with a word in place of each value."""
    for path in sorted((ROOT / "metabench").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
                "MetabenchError",
                "UsageError",
                "Unfinished",
            ):
                for part in node.args:
                    if text := _literal(part):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", re.sub(r"`[^`]*`|'[^']*'", "Code", text)


def _literal(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_literal(part) if isinstance(part, ast.Constant) else "VALUE" for part in node.values)
    return ""


def docstrings() -> Iterator[tuple[str, str]]:
    """(name, docstring) of every public name, its methods and properties."""
    import metabench as mb

    spots = {name: getattr(mb, name) for name in mb.__all__ if name != "__version__"}
    for package in mb._PACKAGES:
        module = importlib.import_module(f"metabench.{package}")
        spots |= {f"{package}.{n}": thing for n in module.__all__ if (thing := _there(module, n)) is not None}
    for name, thing in spots.items():
        yield from ((name, part) for part in _paragraphs(inspect.getdoc(thing)))
        if inspect.isclass(thing):
            for member, value in vars(thing).items():
                if not member.startswith("_") and (
                    callable(value) or isinstance(value, property | classmethod | staticmethod)
                ):
                    yield from ((f"{name}.{member}", part) for part in _paragraphs(getattr(value, "__doc__", None)))


def _there(module, name):
    """A name of a module; None where it needs a package that is not installed."""
    from metabench.errors import MetabenchError

    try:
        return getattr(module, name)
    except MetabenchError:
        return None


def _paragraphs(text: str | None) -> Iterator[str]:
    text = re.sub(r":\w+:`~?\.?([^`]*)`", r"\1", text or "")
    yield from markdown(re.sub(r"^(\s+\w+: )", r"\n\n\1", text, flags=re.M).replace("    ", " "))


def texts(kind: str) -> Iterator[tuple[str, str]]:
    """(place, text) of one kind: help, errors, api, or the Markdown and HTML files below a path."""
    if kind in ("help", "errors", "api"):
        for place, text in {"help": help_texts, "errors": error_texts, "api": docstrings}[kind]():
            yield place, re.sub(r"``[^`]+``|`[^`]+`", "Code", text)
        return
    at = ROOT / kind
    for path in [at] if at.is_file() else sorted(p for p in at.rglob("*") if p.suffix in (".md", ".html")):
        if str(path.relative_to(ROOT)) in ELSEWHERE:
            continue
        content = path.read_text(encoding="utf-8")
        for text in markdown(content) if path.suffix == ".md" else page(content):
            yield str(path.relative_to(ROOT)), text


#: made where HPO-B's data is, and made again only there
ELSEWHERE = {"leaderboards/hpob/v1/README.md"}
#: what `make lint` asks for
ALL = ("README.md", "docs", "CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md", "help", "errors", "api", "leaderboards/site",
       "leaderboards/reports", "leaderboards")  # fmt: skip


def check(*kinds: str) -> list[str]:
    """A line for each fault in these kinds of text; one that many pages share is listed once."""
    seen: dict[str, str] = {}
    checked: set[str] = set()
    for kind in kinds:
        for place, text in texts(kind):
            if text in checked:
                continue
            checked.add(text)
            for found in findings(text):
                seen.setdefault(found, place)
    return [f"{place}: {found}" for found, place in seen.items()]


if __name__ == "__main__":
    wrong = check(*(sys.argv[1:] or ALL))
    print("\n".join(wrong))
    print(f"{len(wrong)} sentences to mend", file=sys.stderr)
    sys.exit(bool(wrong))
