"""Templates, style sheet and script that all pages share.

Another part of the site brings templates of its own and extends ``base.html.j2`` (the frame: header, navigation,
footer; its first lines say what it takes) and ``macros.html.j2`` through ``render(..., package="metabench.publishing.reports")``.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import jinja2

from metabench.publishing.pages import wording
from metabench.publishing.pages.prose import prose

_HERE = "metabench.publishing.pages"
#: files of ``static/`` that pages link to; they lie in the folder that a page's ``root`` names
ASSETS = ("style.css", "board.js")


def static(name: str) -> str:
    """A file of ``static/``."""
    return resources.files(_HERE).joinpath("static", name).read_text(encoding="utf-8")


@cache
def environment(package: str = _HERE) -> jinja2.Environment:
    """Templates of a package, and below them those of the leaderboard; everything in HTML is escaped, an undefined name is
    an error."""
    env = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name) for name in dict.fromkeys((package, _HERE))]),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters.update(wording.FILTERS, prose=prose)
    env.globals.update(starts=wording.STARTS)
    return env


def render(template: str, *, package: str = _HERE, **context: Any) -> str:
    """A template filled. Raises jinja2.UndefinedError for a name that it lacks."""
    return environment(package).get_template(template).render(**context)
