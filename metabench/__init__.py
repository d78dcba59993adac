"""metabench: tables, meta-models and a benchmark for meta-learned hyperparameter optimisation of deep networks.

>>> import metabench as mb
>>> table = mb.load_table("starter")            # lazy; table.tasks, table.configs("mlp"), table.runs("mlp")
>>> board = mb.load_board("search")             # the frozen rules of a leaderboard
>>> traces = mb.evaluate("portfolio", board)    # resumable cell by cell
>>> mb.score(traces)                            # beside every method that is published; .summary, .figure()
>>> problem = mb.problem("mlp-digits")          # .space, .evaluate(config), .lookup(config_id), .best_known
>>> model = mb.load_metamodel("mlp-v1")         # fitted; model.top_configs(task, k=5)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; what runs is loaded when it is first used
    from metabench import explain as explain
    from metabench import interop as interop
    from metabench.advise.recommend import recommend as recommend
    from metabench.advise.recommend import task_from_csv as task_from_csv
    from metabench.advise.saved import load_model as load_model
    from metabench.advise.tune import tune as tune
    from metabench.boards.board import load_board as load_board
    from metabench.metamodels.parts.common import MetaModel as MetaModel
    from metabench.notebook import evaluate as evaluate
    from metabench.notebook import score as score
    from metabench.objectives import problem as problem
    from metabench.pretrained import load_metamodel as load_metamodel
    from metabench.search.base import History as History
    from metabench.search.base import Problem as Problem
    from metabench.search.base import Searcher as Searcher
    from metabench.search.base import Surrogate as Surrogate
    from metabench.search.continuous import Trials as Trials
    from metabench.space import Space as Space
    from metabench.table import load_table as load_table
    from metabench.workloads.base import Workload as Workload

__version__ = "0.1.0"

#: public name → module that holds it; nothing is imported before it is used
_PUBLIC = {
    "load_table": "metabench.table",
    "load_board": "metabench.boards.board",
    "evaluate": "metabench.notebook",
    "score": "metabench.notebook",
    "problem": "metabench.objectives",
    "load_metamodel": "metabench.pretrained",
    "recommend": "metabench.advise.recommend",
    "tune": "metabench.advise.tune",
    "load_model": "metabench.advise.saved",
    "task_from_csv": "metabench.advise.recommend",
    "Searcher": "metabench.search.base",
    "Surrogate": "metabench.search.base",
    "MetaModel": "metabench.metamodels.parts.common",
    "Problem": "metabench.search.base",
    "History": "metabench.search.base",
    "Trials": "metabench.search.continuous",
    "Space": "metabench.space",
    "Workload": "metabench.workloads.base",
}

#: packages that are public as they are
_PACKAGES = ("explain", "interop")

__all__ = [
    "History",
    "MetaModel",
    "Problem",
    "Searcher",
    "Space",
    "Surrogate",
    "Trials",
    "Workload",
    "__version__",
    "evaluate",
    "explain",
    "interop",
    "load_board",
    "load_metamodel",
    "load_model",
    "load_table",
    "problem",
    "recommend",
    "score",
    "task_from_csv",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"metabench.{name}")
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'metabench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PACKAGES, *_PUBLIC])
