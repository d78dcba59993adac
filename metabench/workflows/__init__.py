"""The whole way: train, join with what is stored, let every method search held-out tasks, publish the board."""

from metabench.workflows.evaluation import (
    Evaluated,
    choose_settings,
    evaluate_board,
    methods,
    plan_board,
    published_beside,
    ranking,
    scored,
)
from metabench.workflows.making import Made, make_board
from metabench.workflows.prediction import Predicted, predict_board
from metabench.workflows.publishing import all_stale, publish, publish_all, stale
from metabench.workflows.rekeying import Rekeyed, rekey, rekey_all
from metabench.workflows.submitting import draft_submission, last_step, submit
from metabench.workflows.whole import run

__all__ = [
    "Evaluated",
    "Made",
    "Predicted",
    "Rekeyed",
    "all_stale",
    "choose_settings",
    "draft_submission",
    "evaluate_board",
    "last_step",
    "make_board",
    "methods",
    "plan_board",
    "predict_board",
    "publish",
    "publish_all",
    "published_beside",
    "ranking",
    "rekey",
    "rekey_all",
    "run",
    "scored",
    "stale",
    "submit",
]
