"""How deep the network is."""

from __future__ import annotations

#: hidden layers
DEPTH = 3
