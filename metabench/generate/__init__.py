"""Making tables: plan what is missing, train it on worker processes, store it so that nothing is ever lost."""

from metabench.generate.execute import Report, generate, preview
from metabench.generate.plan import Plan, make_plan

__all__ = ["Plan", "Report", "generate", "make_plan", "preview"]
