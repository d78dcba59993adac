"""metabench: tables, meta-models and a benchmark for meta-learned hyperparameter optimisation of deep networks.

>>> import metabench as mb
>>> table = mb.load_table("starter")            # lazy; table.tasks, table.configs("mlp"), table.runs("mlp")
>>> board = mb.load_board("search")             # the frozen rules of a leaderboard
>>> traces = mb.evaluate("portfolio", board)    # resumable cell by cell
>>> mb.score(traces)                            # beside every method that is published; .summary, .figure()
>>> model = mb.load_metamodel("mlp-v1")         # fitted; model.top_configs(task, k=5)
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

#: public name → module that holds it; nothing is imported before it is used
_PUBLIC = {
    "load_table": "metabench.table",
    "load_board": "metabench.boards.board",
    "evaluate": "metabench.evaluation",
    "score": "metabench.notebook",
    "load_metamodel": "metabench.pretrained",
    "recommend": "metabench.advise.recommend",
    "tune": "metabench.advise.tune",
    "load_model": "metabench.advise.saved",
    "task_from_csv": "metabench.advise.recommend",
    "Searcher": "metabench.search.base",
    "Surrogate": "metabench.search.base",
    "Space": "metabench.space",
}

#: packages that are public as they are
_PACKAGES = ("explain", "interop")

__all__ = ["__version__", *_PACKAGES, *_PUBLIC]


def __getattr__(name: str):
    if name in _PACKAGES:
        return importlib.import_module(f"metabench.{name}")
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'metabench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PACKAGES, *_PUBLIC])
