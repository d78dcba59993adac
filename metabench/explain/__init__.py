"""Explains hyperparameters from a table or a meta-model.

Functions say which hyperparameters matter, where their optima lie and how these move, and why a configuration is
recommended.

>>> from metabench import explain
>>> explain.summary(explain.importance(table, "mlp"))           # shares of variance with intervals over families
>>> explain.optimum(table, "mlp", "learning_rate", "n_train")   # a trend, or that there is none

Everything is computed from what :meth:`metabench.table.Table.meta_train` gives; nothing is trained.
"""

from metabench.explain.effects import effect
from metabench.explain.importance import importance, summary, survey
from metabench.explain.optimum import Optimum, optimum
from metabench.explain.why import Why, why

__all__ = ["Optimum", "Why", "effect", "importance", "optimum", "summary", "survey", "why"]
