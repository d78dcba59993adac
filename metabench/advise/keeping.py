"""The network that a tuning keeps, the one of all rows beside it, and the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metabench import untrusted
from metabench.files import replace_file

if TYPE_CHECKING:
    from metabench.advise.tables import Read
    from metabench.advise.tune import Tuning

REPORT, MODEL, REFIT, ORIGIN = "report.html", "model", "refit", "origin.json"
Say = Callable[[str], None]


def kept(result: Tuning, found: Read | None, seed: int, device: str, backend: str, key: str, say: Say) -> Tuning:
    """The best network, trained and written; the one that lies there already if it is of the same trial. Where its
    configuration was trained on several splits it is trained on all rows.

    Args:
        result: All trials; ``out`` is the folder.
        found: The data, None for a task that is not a person's data.
        seed: As of the trials.
        device: Where they were trained.
        backend: What trained them.
        key: What determines the trials; a network with another one is replaced.
        say: Called with a line for what takes time.

    Returns:
        The tuning with the scores of the network.
    """
    from metabench.advise import saved

    assert result.out is not None  # what is kept has a place
    best, folder = result.best, result.out / MODEL
    origin: dict[str, Any] = {"key": key, "trial": best.config, "arm": best.arm}
    estimate = {"valid": best.score, "test": best.test_score} if result.repeats > 1 else None
    scores, engine = _there(folder, origin)
    if scores is None:
        (folder / ORIGIN).unlink(missing_ok=True)
        scores = saved.write(
            folder,
            result.task,
            found,
            best.config,
            seed,
            device=device,
            backend=backend,
            whole=estimate is not None,
            estimate=estimate,
            progress=_steps(say),
        )
        engine = untrusted.read_json(folder / saved.FACTS)["engine"]
        replace_file(folder / ORIGIN, json.dumps(origin).encode())
    if abs(scores["valid"] - best.score) > 5e-5:
        say(
            f"the kept network scores {scores['valid']:.4f} on the validation rows where the trial had {best.score:.4f}: the "
            "plain loop that trained it again adds the same numbers in another order"
        )
    return replace(result, kept=scores, engine=engine)


def _there(folder: Path, origin: dict[str, Any]) -> tuple[dict[str, float] | None, str]:
    """Scores of the network in a folder, and what trained it, if it is of that origin."""
    from metabench.advise import saved
    from metabench.errors import MetabenchError

    try:
        if untrusted.read_json(folder / ORIGIN) != origin:
            return None, ""
        network = saved.load_model(folder)
        return network.scores, str(network.description["engine"])
    except (OSError, ValueError, KeyError, MetabenchError):  # damaged, unfinished, of an older version: it is made anew
        return None, ""


def refitted(result: Tuning, found: Read, seed: int, device: str, backend: str, say: Say) -> Tuning:
    """The best configuration trained on all rows, written to ``refit/``."""
    from metabench.advise import saved

    assert result.out is not None
    say("the best configuration is trained on all rows; no row is left to measure its score")
    saved.write(
        result.out / REFIT,
        result.task,
        found,
        result.best.config,
        seed,
        device=device,
        backend=backend,
        whole=True,
        progress=_steps(say),
    )
    return replace(result, refitted=True)


def reported(result: Tuning) -> None:
    """Write the report."""
    from metabench.advise import report

    assert result.out is not None
    replace_file(result.out / REPORT, report.page(result).encode())


def _steps(say: Say) -> Callable[[int, int], None]:
    """Says ten times at most how far the plain loop is."""

    def step(done: int, of: int) -> None:
        if done == 1 or done == of or done % max(1, of // 8) == 0:
            say(f"the best network is trained again by the plain loop: epoch {done} of {of}")

    return step
