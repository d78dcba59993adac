"""Every method searches every held-out task: method × start × task × seed → traces, resumable cell by cell."""

from metabench.evaluate.methods import Method, resolve
from metabench.evaluate.run import MethodsFailed, evaluate, plan
from metabench.evaluate.store import CellStore

__all__ = ["CellStore", "Method", "MethodsFailed", "evaluate", "plan", "resolve"]
