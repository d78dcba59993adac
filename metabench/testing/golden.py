"""What built-in methods propose on a small planted problem, stored with their versions: a change needs a new version.

``python -m metabench.testing.golden [METHOD …]`` writes the records anew, of all methods that can run here by default.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from metabench import registry
from metabench.evaluation.methods import resolve, versions
from metabench.evaluation.worker import one_thread
from metabench.metatrain import MetaTrain
from metabench.search.base import History, Searcher, Surrogate
from metabench.search.continuous import Suggests, Trials, to_text
from metabench.search.curve_source import CurveTrain
from metabench.search.fidelity import FidelityProblem, FidelitySearcher
from metabench.testing.contract.fidelity import train
from metabench.testing.contract.searcher import search
from metabench.testing.planted import SPACE, PlantedFamily
from metabench.testing.quick import QUICK, quick
from metabench.training.machine import processor

#: where the records lie in the repository
FOLDER = Path("tests/golden/proposals")
#: source tasks, configurations, trials of a search; the held-out tasks with the seeds of their searches
TASKS, CONFIGS, TRIALS, SEARCHES = 6, 32, 10, ((100, 0), (101, 1))
#: where curves are seen, in epochs; full trainings that a search of parts of them may cost
CHECKPOINTS, TRAININGS = (1, 3, 9, 27), 3
#: packages whose other versions may fit other models from the same data
_LEARNERS = ("torch", "xgboost")


def observe(name: str) -> dict[str, Any]:
    """The record of a method as it is now. Raises UsageError for an unknown name."""
    method = quick(name)
    family, configs = PlantedFamily(seed=3), SPACE.sample(CONFIGS, 0)
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")
        fitted = method.fit(_source(family, configs))
        searches = [_searched(fitted, family, configs, task, seed) for task, seed in SEARCHES]
    return {
        "method": name,
        "version": type(method).version,
        "versions": versions(type(method)),
        "fingerprint": resolve(name)[0].fingerprint,
        "settings": QUICK.get(name, {}),
        "packages": _packages(method),
        "processor": processor(),
        "searches": searches,
    }


def _source(family: PlantedFamily, configs) -> MetaTrain:
    source = family.source(range(TASKS), configs, valid=(TASKS, TASKS + 1))
    rest = (0.5 + 0.1 * (np.arange(CONFIGS) % 7))[:, None, None] / np.array(CHECKPOINTS)
    facts = {name: getattr(source, name) for name in ("space", "configs", "tasks", "scores", "valid")}
    return CurveTrain(**facts, curves=source.scores[..., None] - rest, checkpoints=(CHECKPOINTS,) * TASKS)


def _searched(fitted: Searcher, family: PlantedFamily, configs, task: int, seed: int) -> dict[str, Any]:
    """The proposals of one search; of a surrogate what it predicts after it, of a method that suggests its suggestions."""
    problem, scores = family.problem(task, configs, TRIALS)
    told: dict[str, Any] = {"task": task, "seed": seed}
    if isinstance(fitted, FidelitySearcher):
        parts = FidelityProblem(problem.space, problem.task, problem.candidates, TRAININGS, CHECKPOINTS)
        return told | {"proposals": [[a.candidate, a.epochs] for a in train(fitted, parts, lambda c: float(scores[c]))]}
    tried = search(fitted, problem, lambda c: float(scores[c]), TRIALS, seed)
    told["proposals"] = tried
    if isinstance(fitted, Surrogate) and type(fitted).predict is not Surrogate.predict:
        seen = History(tried[:5], [float(scores[c]) for c in tried[:5]])
        prediction = fitted.start(problem, seed).predict(seen, np.arange(CONFIGS))
        told["predicted"] = [[float(f"{v:.4g}") for v in values[:8]] for values in (prediction.mean, prediction.std)]
    if isinstance(run := fitted.start(replace(problem, candidates=SPACE.sample(64, 5)), seed), Suggests):
        suggested: list[dict[str, Any]] = []
        values: list[float] = []
        for _ in range(TRIALS):
            suggested.append(dict(run.suggest_config(Trials(SPACE.table(suggested), list(values)))))
            values.append(float(np.nan_to_num(family.scores(task, SPACE.table(suggested[-1:]))[0, 0])))
        told["suggested"] = [to_text(SPACE, config) for config in suggested]
    return told


def _packages(method: Searcher) -> dict[str, str]:
    """Versions of the packages whose code decides what the method proposes."""
    loaded = [name for name in _LEARNERS if name in sys.modules and isinstance(method, _using(name))]
    names = sorted({*method.requires, *loaded})
    owners = importlib.metadata.packages_distributions()
    return {name: importlib.metadata.version(owners.get(name, [name])[0]) for name in names}


def _using(package: str) -> tuple[type, ...]:
    from metabench.metamodels.parts.boosted import Boosted
    from metabench.metamodels.parts.neural import Neural
    from metabench.metamodels.policy_gradient import PolicyGradient

    return (Boosted,) if package == "xgboost" else (Neural, PolicyGradient)


# ---------------------------------------------------------------- comparing
def differs(record: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """What is wrong between a stored record and what a method does now, in one line that says what to do; None: nothing."""
    name, again = record["method"], f"run `python -m metabench.testing.golden {record['method']}`"
    same = _same(record["searches"], now["searches"]) and record["settings"] == now["settings"]
    if record["versions"] == now["versions"]:
        if same and record["fingerprint"] == now["fingerprint"]:
            return None
        if same:
            return f"{name} has another fingerprint than before: if its settings have changed, {again}"
        return (
            f"{name} does not propose what its version {record['version']} did: raise `version` in its class, which makes "
            f"its published results be evaluated again, then {again}"
        )
    return f"the record of {name} is of versions {_words(record['versions'])}, the code of {_words(now['versions'])}: {again}"


def other_machine(record: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Why proposals may differ although the method is the same: other versions of packages, another processor, whose
    products round otherwise; None: there is no such reason."""
    found = [f"{n} {now['packages'].get(n)}" for n, v in record["packages"].items() if now["packages"].get(n) != v]
    found += [now["processor"]] if now["processor"] != record["processor"] else []
    return f"{record['method']} is recorded with others than {', '.join(found)}" if found else None


def _words(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _same(stored: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> bool:
    """Equal proposals and suggestions; predictions may differ in the last digits, as sums on other processors do."""
    plain = [{k: v for k, v in s.items() if k != "predicted"} for s in (*stored, *now)]
    if plain[: len(stored)] != plain[len(stored) :]:
        return False
    pairs = [(a["predicted"], b.get("predicted")) for a, b in zip(stored, now, strict=True) if "predicted" in a]
    return all(b is not None and np.allclose(a, b, rtol=5e-3, atol=5e-3) for a, b in pairs)


# ---------------------------------------------------------------- on disk
def read(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """The stored record of a method."""
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def write(record: Mapping[str, Any], folder: Path = FOLDER) -> Path:
    """Store a record, a line for each list of numbers; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=1)
    numbers = re.compile(r"\[\s+(-?[\d.eE+-]+(?:,\s+-?[\d.eE+-]+)*)\s+\]")
    text = numbers.sub(lambda m: "[" + re.sub(r"\s+", " ", m[1]) + "]", text)
    path = folder / f"{record['method']}.json"
    path.write_text(text + "\n", encoding="utf-8")
    return path


def main(names: Sequence[str]) -> int:
    """Write records anew, of all methods that can run here unless some are named."""
    known = [*registry.builtin("baselines"), *registry.builtin("metamodels")]
    for name in names or known:
        if name not in known:
            raise registry.suggest(name, known, "method")
        if lacking := registry.lacks(quick(name)):
            print(f"{name} {lacking}", file=sys.stderr)
            continue
        print(write(observe(name)))
    return 0


if __name__ == "__main__":
    from metabench.errors import MetabenchError

    try:
        sys.exit(main(sys.argv[1:]))
    except MetabenchError as error:
        print(f"metabench: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
