"""Submissions: a folder with ``submission.toml`` and ``traces.parquet`` becomes rows of a board.

A trace holds which configurations were tried, in order; every score is looked up in the board's table, or (on a live
board) every configuration is trained again, so a forged one cannot enter. Everything in the folder is untrusted:
sizes are bounded before a file is read, no name reaches a path before it is checked, nothing in it is executed. Its
status says how far it was checked:

``recomputed``
    its traces are searches that keep the board's rules, and its scores were computed here, from stored rows or by training;
``reproduced``
    its code, installed here, proposed the same configurations in every cell;
``confirmed``
    beyond that, searches with seeds that the author had no need to publish reach a regret within its interval (not on a
    live board: the table measures its own seeds alone).
"""

from metabench.boards.submissions.folder import STATUSES, accept, accepted, draft, read
from metabench.boards.submissions.form import Refused, Submission, parse
from metabench.boards.submissions.reproduction import reproduce
from metabench.boards.submissions.rules import Checked, check, check_sources

__all__ = [
    "STATUSES", "Checked", "Refused", "Submission", "accept", "accepted", "check", "check_sources", "draft", "parse",
    "read", "reproduce",
]  # fmt: skip
