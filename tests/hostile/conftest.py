"""The harness of hostile tests: it counts what was tried, held and failed, and says so at the end of the run.

METABENCH_HOSTILE=20 tries twenty times as much as the suite does.
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


@pytest.fixture
def tally(request) -> Tally:
    """The tally of a test; all that it counts must hold."""
    found, before = _TALLIES[request.node.originalname], len(_TALLIES[request.node.originalname].failed)
    yield found
    assert len(found.failed) == before, "\n".join(found.failed[before:][:20])


@pytest.fixture
def effort() -> Callable[[int], int]:
    """The number of tries, given that of the usual run."""
    return lambda usual: max(1, round(usual * EFFORT))


def pytest_terminal_summary(terminalreporter) -> None:
    if _TALLIES:
        terminalreporter.section("hostile: tried, held, failed")
        for name, found in sorted(_TALLIES.items()):
            held = found.tried - len(found.failed)
            terminalreporter.write_line(f"{name}: {found.tried} tried, {held} held, {len(found.failed)} failed")
