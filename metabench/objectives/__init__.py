"""Tasks as objectives that anyone's optimiser can call: ``mb.problem("mlp-digits")``."""

from metabench.objectives.training import Evaluation, TrainingProblem, problem

__all__ = ["Evaluation", "TrainingProblem", "problem"]
