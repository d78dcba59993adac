"""What mkdocs asks before it renders a page: links that lead out of docs/ are given an address that a reader can open.

Published pages lie beside the documentation (`.ci/pages`). Other files are on GitHub, where the repository's address is
known (GITHUB_REPOSITORY, which GitHub's runners set); else their names are shown without a link. A link to nothing is a
warning, and `mkdocs build --strict` fails.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```.*?^```[^\n]*$)", re.S | re.M)
#: a role of docstrings, as Markdown leaves it
ROLE = re.compile(r":(?:func|class|meth|mod|data|attr|exc):<code>~?([^<]*)</code>")
log = logging.getLogger("mkdocs.hooks.links")


def on_page_markdown(markdown: str, *, page, config, files) -> str:
    """The page with its links out of docs/ replaced; code is left as it is."""
    here = posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def replaced(found: re.Match[str]) -> str:
        text, target = found.groups()
        path, _, anchor = target.partition("#")
        if not path or "://" in path or path.startswith("mailto:"):
            return found.group()
        full = posixpath.normpath(posixpath.join(here, path))
        if not (ROOT / full).exists():
            log.warning("%s links to %s, which is not there", page.file.src_uri, full)
            return text
        if full.startswith("docs/") and full.endswith(".md"):
            return found.group()
        address = outside(full, page.file.src_uri.count("/"), anchor)
        # as HTML, for mkdocs knows no pages beside its own
        return f'<a href="{address}">{text}</a>' if address else text

    return "".join(part if part.startswith("```") else LINK.sub(replaced, part) for part in FENCE.split(markdown))


def on_page_content(html: str, *, page, config, files) -> str:
    """The page with names in docstrings as plain code."""
    return ROLE.sub(r"<code>\1</code>", html)


def outside(path: str, depth: int, anchor: str = "") -> str | None:
    """The address of a file of the repository as seen from a page ``depth`` folders below the documentation's."""
    board = re.fullmatch(r"leaderboards/([^/]+/v\d+)(/README\.md)?", path)
    if board and (ROOT / f"leaderboards/{board[1]}/site/index.html").exists():
        return f"{'../' * (depth + 1)}{board[1]}/site/index.html"
    if path.startswith("leaderboards/") and path.endswith(".html"):
        return "../" * (depth + 1) + path.removeprefix("leaderboards/")
    if repository := os.environ.get("GITHUB_REPOSITORY"):
        return f"https://github.com/{repository}/blob/main/{path}{'#' + anchor if anchor else ''}"
    return None
