"""The sizes of a layer."""

from __future__ import annotations

#: hidden units of the feed-forward part, per unit of width
WIDER = 4
