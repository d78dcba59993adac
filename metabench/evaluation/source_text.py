"""The source text of classes from outside the package, as a digest that comments, docstrings and layout leave alone.

It stands in for a ``version`` where an outsider's method declares none, so that an edit is never taken for what was
evaluated before. Tokens are hashed rather than a syntax tree: they are the same on every version of Python.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import io
import sys
import textwrap
import token
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

#: token types that are left out: they are comments and layout
_LAYOUT = {token.COMMENT, token.NL, token.ENCODING, token.TYPE_COMMENT, token.TYPE_IGNORE, token.ENDMARKER}
_MARKS = {token.NEWLINE: "\n", token.INDENT: "\t+", token.DEDENT: "\t-"}
#: types of the ends of an f-string, which is one token before Python 3.12
_OPENS = {getattr(token, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(token, name)}
_CLOSES = {getattr(token, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(token, name)}


def class_digest(cls: type, ours: str = "metabench") -> tuple[str, list[str]]:
    """sha256 of the code behind a class, and the modules of ``ours`` that it imports.

    The code is that of the modules of the class and its bases, and of what they import from the same top-level packages.
    Code of ``ours`` does not count: its methods have versions. Where there is no source (a class made by ``exec``), the
    bytecode counts.
    """
    packages = {base.__module__.split(".")[0] for base in cls.__mro__} - {"builtins", "abc", "typing", ours}
    queue = [base.__module__ for base in cls.__mro__ if base.__module__.split(".")[0] in packages]
    sources: dict[str, str] = {}
    used: set[str] = set()
    while queue:
        name = queue.pop()
        if name in sources:
            continue
        sources[name] = _source(name, cls)
        for found in _imports(name, sources[name]):
            if found.split(".")[0] == ours:
                used.add(found)
            elif found.split(".")[0] in packages and _is_module(found):
                queue.append(found)
    text = "\n".join(f"{name}\n{' '.join(tokens(source))}" for name, source in sorted(sources.items()))
    return hashlib.sha256(text.encode()).hexdigest(), sorted(used)


def tokens(source: str) -> list[str]:
    """The tokens of a source without comments, docstrings and layout; the same on every version of Python.

    >>> tokens("x  =  f'{a}'  # why") == tokens("x = f'{a}'")
    True
    """
    found: list[str] = []
    strings: list[bool] = []  # is the token a whole string?
    for text, whole in _tokens(source):
        if text == "\n" and strings and strings[-1] and (len(found) < 2 or found[-2] in _MARKS.values()):
            del found[-1], strings[-1]  # a string that is a statement: a docstring
            continue
        found.append(text)
        strings.append(whole)
    return found


def _tokens(source: str) -> Iterator[tuple[str, bool]]:
    """Token by token, and whether it is a string."""
    lines = source.splitlines(keepends=True)
    depth, begin = 0, (0, 0)
    for t in tokenize.generate_tokens(io.StringIO(source).readline):
        if t.type in _OPENS:
            begin = begin if depth else t.start
            depth += 1
        elif t.type in _CLOSES:
            depth -= 1
            if not depth:
                yield _span(lines, begin, t.end), True
        elif not depth and t.type not in _LAYOUT:
            yield _MARKS.get(t.type, t.string), t.type == token.STRING


def _span(lines: list[str], begin: tuple[int, int], end: tuple[int, int]) -> str:
    (first, left), (last, right) = begin, end
    if first == last:
        return lines[first - 1][left:right]
    return "".join([lines[first - 1][left:], *lines[first : last - 1], lines[last - 1][:right]])


def _source(name: str, cls: type) -> str:
    """Source of a module; where there is no file (a notebook) that of the class, or a digest of its functions."""
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None) if module else getattr(importlib.util.find_spec(name), "origin", None)
    if path and path.endswith(".py"):
        return Path(path).read_text(encoding="utf-8")
    if cls.__module__ != name:
        return ""
    try:
        return textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        code = [f.__code__ for f in vars(cls).values() if inspect.isfunction(f)]
        text = repr([(c.co_name, c.co_code, c.co_names, c.co_consts) for c in code])
        return f"functions = {hashlib.sha256(text.encode()).hexdigest()!r}"


def _imports(name: str, source: str) -> Iterator[str]:
    """Dotted names that a module imports, anywhere in it; those of ``from a import b`` may be modules or not."""
    module = sys.modules.get(name)
    package = module.__package__ if module else getattr(importlib.util.find_spec(name), "parent", None)
    for base, members in _import_statements(source):
        base = importlib.util.resolve_name(base, package or None)
        yield from (base, *(f"{base}.{member}" for member in members))


@cache
def _import_statements(source: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(module as it is written, names imported from it) of every import statement."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(("." * node.level + (node.module or ""), tuple(alias.name for alias in node.names)))
    return tuple(found)


def _is_module(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, AttributeError, ValueError):
        return False
