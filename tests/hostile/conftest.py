"""The harness of hostile tests: it counts what was tried, held and failed, and prints a table at the end of the run.

``METABENCH_HOSTILE=10 python -m pytest tests/hostile`` tries ten times as much as the suite does.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from metabench.errors import MetabenchError

sys.path.insert(0, str(Path(__file__).parents[1]))
#: how much more than usual is tried
EFFORT = float(os.environ.get("METABENCH_HOSTILE", "1"))
#: characters that one line may have
LINE = 1000


@dataclass
class Tally:
    """What became of attempts, by kind."""

    tried: int = 0
    failed: list[str] = field(default_factory=list)

    def attempt(
        self, what: str, act: Callable[[], object], harmless: Callable[[object], bool] = lambda result: False
    ) -> None:
        """An attempt holds when it ends in one printable line, or in a result that is harmless."""
        self.tried += 1
        try:
            result = act()
        except MetabenchError as error:
            line = str(error)
            if not line.isprintable() or len(line) > LINE:
                self.failed.append(f"{what}: a line of {len(line)} characters: {line[:100]!r}")
        except Exception as error:
            self.failed.append(f"{what}: {type(error).__name__}: {str(error)[:200]!r}")
        else:
            if not harmless(result):
                self.failed.append(f"{what}: it was taken")

    def verdict(self, what: str, holds: bool) -> None:
        """An attempt whose outcome is known."""
        self.tried += 1
        if not holds:
            self.failed.append(what)


_TALLIES: dict[str, Tally] = defaultdict(Tally)
#: what a test's attempts are called in the table; others have the name of the test
KINDS = {
    "test_a_file_of_any_form": "readers of files",
    "test_a_fitted_meta_model": "fitted meta-models, damaged",
    "test_a_kept_network": "kept networks, damaged",
    "test_a_prepared_task": "prepared tasks in the cache, damaged",
    "test_a_compiled_kernel": "compiled kernels, damaged or swapped",
    "test_a_table_that_is_read_without_verify": "tables, damaged and read without verify",
    "test_flipped_bits_of_stored_cells": "stored cells, bits flipped",
    "test_damaged_traces_and_predictions": "stored traces and predictions",
    "test_ended_at_any_moment": "killed or terminated",
    "test_builds": "build killed between renames",
    "test_acceptances": "acceptance killed",
    "test_evaluations": "evaluation killed",
    "test_what_is_no_file": "tables of pipes, devices and links",
    "test_texts_of_any_form": "tables' manifests, splits, starts, seals",
    "test_bytes_of_an_accepted_folder_that_changed": "forgery after acceptance, bytes",
    "test_facts_of_an_accepted_folder_that_were_sealed_again": "forgery after acceptance, facts",
    "test_links_and_strange_entries": "submissions of links and pipes",
}


def _row(request) -> str:
    """The line of the table that a test counts in; readers and commands have a line each."""
    asked = getattr(request.node, "callspec", None)
    what = asked.params.get("kind", asked.params.get("name", "")) if asked else ""
    part = what.__name__.lower() if isinstance(what, type) else str(what).partition(",")[0]
    title = KINDS.get(request.node.originalname, request.node.originalname.removeprefix("test_").replace("_", " "))
    return f"{title}: {part}" if title in ("readers of files", "killed or terminated") else title


@pytest.fixture
def tally(request) -> Tally:
    """The tally of a test; all that it counts must hold."""
    found = _TALLIES[_row(request)]
    before = len(found.failed)
    yield found
    assert len(found.failed) == before, "\n".join(found.failed[before:][:20])


@pytest.fixture
def effort() -> Callable[[int], int]:
    """The number of tries, given that of the usual run."""
    return lambda usual: max(1, round(usual * EFFORT))


def pytest_terminal_summary(terminalreporter) -> None:
    if not _TALLIES:
        return
    rows = [(name, found.tried, len(found.failed)) for name, found in sorted(_TALLIES.items())]
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    width = max(len(name) for name, *_ in rows)
    terminalreporter.section("hostile: tried, held, failed")
    terminalreporter.write_line(f"{'':{width}}  {'tried':>6}  {'held':>6}  {'failed':>6}")
    for name, tried, failed in rows:
        terminalreporter.write_line(f"{name:{width}}  {tried:>6}  {tried - failed:>6}  {failed:>6}")
