"""What people wrote about a method, as HTML."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_LINKS = (
    (re.compile(r"arXiv:\s?(\d{4}\.\d{4,5})"), "https://arxiv.org/abs/"),
    (re.compile(r"doi:\s?(10\.\d{4,9}/[^\s,;)]*[^\s,;.)])"), "https://doi.org/"),
)


def prose(text: str) -> Markup:
    """A docstring's paragraph as HTML: escaped, ``code`` marked up, arXiv and doi references linked."""
    out = str(escape(text))
    out = re.sub(r":\w+:`~?\.?([^`]+)`", r"``\1``", out)
    out = re.sub(r"``(.+?)``", r"<code>\1</code>", out)
    for pattern, base in _LINKS:
        out = pattern.sub(lambda m, base=base: f'<a href="{base}{m[1]}">{m[0]}</a>', out)
    return Markup(out)
