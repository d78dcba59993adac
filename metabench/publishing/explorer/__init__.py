"""A page to browse a table with: landscapes, learning curves, the runs behind a point, and how to train them again."""

from metabench.publishing.explorer.build import build

__all__ = ["build"]
