"""Submissions: a folder with ``submission.toml`` and ``traces.parquet`` becomes rows of a board.

A trace holds which configurations were tried, in order; every score is looked up in the board's table, or (on a live
board) every configuration is trained again, so a forged one cannot enter. Everything in the folder is untrusted: it is
read once, within bounds, what is kept are the bytes that were checked, no name reaches a path before it is checked, and
nothing in it is executed. A board keeps its submissions apart from the suite's own traces and checks them again at every
build, so one whose folder is removed is gone. Its status says how far it was checked:

``recomputed``
    its traces are searches that keep the board's rules, and its scores were computed here, from stored rows or by training;
``reproduced``
    its code, installed here, proposed the same configurations in every cell;
``confirmed``
    beyond that, searches with seeds that the author had no need to publish reach a regret within its interval (not on a
    live board: the table measures its own seeds alone).
"""

from metabench.boards.submissions.folder import Packet, draft, read
from metabench.boards.submissions.form import Refused, Submission, parse
from metabench.boards.submissions.kept import STATUSES, accept, accepted
from metabench.boards.submissions.reproduction import reproduce
from metabench.boards.submissions.rules import Checked, check, check_packet, check_sources

__all__ = [
    "STATUSES",
    "Checked",
    "Packet",
    "Refused",
    "Submission",
    "accept",
    "accepted",
    "check",
    "check_packet",
    "check_sources",
    "draft",
    "parse",
    "read",
    "reproduce",
]
