"""What is known of a method without running it: its docstrings, settings, citations and source file."""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metabench import registry
from metabench.search.base import Searcher

if TYPE_CHECKING:
    from metabench.boards.submissions import Submission

GROUPS = ("metamodels", "baselines")
#: module that a method needs → the package that the method is from
PACKAGES = {
    "syne_tune": "Syne Tune",
    "optuna": "Optuna",
    "cmaes": "cmaes",
    "botorch": "BoTorch",
    "smac": "SMAC3",
    "nevergrad": "Nevergrad",
    "hebo": "HEBO",
}


@dataclass(frozen=True)
class Card:
    """A method's facts. ``kind`` is transfer (learns from other tasks), baseline (does not) or submission (not installed)."""

    name: str
    kind: str
    #: one line: what the method is
    summary: str = ""
    #: paragraphs on where it comes from and how it works, in order
    paragraphs: tuple[str, ...] = ()
    #: constructor's setting → default
    settings: tuple[tuple[str, Any], ...] = ()
    #: the method that does the same without learning from source tasks
    twin: str | None = None
    #: dotted name of the module
    module: str = ""
    #: entry-point group to create it from
    group: str = ""
    #: the other project's package that it runs, by name
    package: str = ""
    #: how far a submission was checked
    status: str = ""
    #: of a submission
    authors: tuple[str, ...] = ()
    #: what it is → address
    links: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """Its kind, and the status of a submission or the package that it is from."""
        return ", ".join(part for part in (self.kind, self.status, self.package) if part)


def card(name: str, submission: Submission | None = None) -> Card:
    """The card of a method by name, or of a submission; a method that neither is has a card with its name alone.

    Raises MetabenchError when the plug-in is there but cannot be loaded.
    """
    if submission is not None:
        return _submitted(submission)
    group = next((g for g in GROUPS if name in registry.names(g)), None)
    if group is None:
        return Card(name, "submission")
    cls = registry.load(group, name)
    summary, *rest = paragraphs(cls)
    settings = tuple(
        (p.name, p.default)
        for p in inspect.signature(cls).parameters.values()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.default is not p.empty
    )
    package = next((PACKAGES[module] for module in cls.requires if module in PACKAGES), "")
    kind = "baseline" if cls.fit is Searcher.fit else "transfer"
    return Card(name, kind, summary, tuple(rest), settings, cls.twin, cls.__module__, group, package=package)


def _submitted(submission: Submission) -> Card:
    learned = len(submission.trained_on)
    sources = (
        [f"It learned from {learned} {'task' if learned == 1 else 'tasks'}."]
        if learned
        else ["It learned from no other task."]
    )
    return Card(
        submission.method,
        "submission",
        submission.summary,
        (*sources, _STATUS[submission.status]),
        twin=submission.twin or None,
        module=submission.spec,
        status=submission.status,
        authors=submission.authors,
        links=tuple((what, url) for what, url in (("code", submission.code), ("paper", submission.paper)) if url),
    )


_STATUS = {
    "recomputed": "Recomputed: its searches keep the rules and its scores were looked up in the table; its code was not run.",
    "reproduced": "Reproduced: its code was run here and proposed the same configurations in every cell.",
    "confirmed": "Confirmed: its code was run here and proposed the same configurations in every cell, and with fresh "
    "search seeds its regret stays within its interval.",
}


def paragraphs(cls: type) -> list[str]:
    """What a plug-in's module and its class say of it, paragraph by paragraph."""
    return _paragraphs(sys.modules[cls.__module__].__doc__) + _paragraphs(vars(cls).get("__doc__"))


def _paragraphs(docstring: str | None) -> list[str]:
    text = inspect.cleandoc(docstring or "")
    return [" ".join(block.split()) for block in re.split(r"\n\s*\n", text) if block.strip()]
