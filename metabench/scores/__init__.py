"""Traces → regret, rank, intervals, tests. Every value is looked up in the table again; numpy, pandas, scipy only."""

from metabench.scores.score import Scores, score

__all__ = ["Scores", "score"]
