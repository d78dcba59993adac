"""Making tables: plan what is missing, train it on worker processes, store it so that nothing is ever lost."""

from metabench.generate.execute import Report, generate, preview
from metabench.generate.plan import Plan, make_plan
from metabench.generate.repair import Repair, repair

__all__ = ["Plan", "Repair", "Report", "generate", "make_plan", "preview", "repair"]
