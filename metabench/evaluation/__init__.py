"""Every method searches every held-out task: method × start × task × seed → traces, resumable cell by cell."""

from metabench.evaluation.methods import Method, resolve
from metabench.evaluation.run import MethodsFailed, evaluate, plan
from metabench.evaluation.store import CellStore

__all__ = ["CellStore", "Method", "MethodsFailed", "evaluate", "plan", "resolve"]
