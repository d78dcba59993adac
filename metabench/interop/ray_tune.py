"""Ray Tune: a Searcher whose first trials are already informed (`pip install 'ray[tune]'`).

>>> search = mb.interop.ray_tune.MetaSearch("mlp-v1", task=mb.task_from_csv("my.csv", target="y"))
>>> tune.Tuner(train, param_space=space, tune_config=tune.TuneConfig(metric="accuracy", mode="max", search_alg=search))
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping as MappingABC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ray.tune.search import Searcher
from ray.tune.search.sample import Domain, Function

from metabench import untrusted
from metabench.errors import MetabenchError, UsageError
from metabench.interop.guide import Guide
from metabench.interop.mapping import Mapping
from metabench.interop.ranges import ABSENT, Range, packed, unpacked
from metabench.interop.ray_space import domains, own_range, resolve

if TYPE_CHECKING:
    from metabench.pretrained import Pretrained

#: format of what :meth:`MetaSearch.save` writes
FORMAT = 1


class MetaSearch(Searcher):
    """Proposes by a fitted meta-model (its name, folder, or what :func:`metabench.load_metamodel` gave), given the trials so far.

    The search space is the Tuner's ``param_space``; parameters are recognised by name, nested ones by their last part. Those
    that are no hyperparameter of the meta-model are drawn at random, and one warning says which. ``names`` and ``fixed``:
    :meth:`metabench.interop.mapping.Mapping.build`. A trial that failed counts as the worst; one that a scheduler stopped, by
    its last result. Dictionaries, lists and tuples of the space may be nested; ``sample_from`` is evaluated last. Once all
    candidates were tried they are proposed again: ``num_samples`` ends the search.
    """

    def __init__(
        self,
        model: str | Pretrained,
        task=None,
        *,
        space: MappingABC[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        names: MappingABC[str, Any] | None = None,
        fixed: MappingABC[str, Any] | None = None,
        seed: int = 0,
    ):
        from metabench.pretrained import load_metamodel

        super().__init__(metric=metric, mode=mode)
        self.model = load_metamodel(model) if isinstance(model, str | Path) else model
        self.task, self.seed = task, seed
        self._names, self._fixed = names, fixed
        self._config: dict[str, Any] = {}
        self._domains: dict[str, Domain] = {}
        self._ranges: dict[str, Range] = {}
        self._guide: Guide | None = None
        #: trial → its guided values, in the order of the proposals; trial → its score (NaN: failed) once it is finished
        self._params: dict[str, dict[str, Any]] = {}
        self._scores: dict[str, float] = {}
        self.model.info(task)
        Mapping.build(self.model.space, {}, names, fixed)  # mistakes are told at once
        if space is not None:
            self._open(space)

    # ---------------------------------------------------------------- what Ray calls
    def set_search_properties(self, metric: str | None, mode: str | None, config: dict, **spec) -> bool:
        if self._guide is not None:
            return False
        if metric:
            self._metric = metric
        if mode:
            self._mode = mode
        self._open(config)
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self._guide is None:
            raise UsageError("MetaSearch has no search space; give the Tuner a param_space, or MetaSearch its space")
        params: dict[str, Any] = {}
        if self._guide.mapping.links:
            trials = [(self._guide.place(p), self._scores.get(t)) for t, p in self._params.items()]
            params = self._guide.propose(trials)
        self._params[trial_id] = params
        rng = np.random.default_rng([self.seed, len(self._params), 0x7A7])
        return resolve(self._config, params, rng)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        if trial_id in self._params:
            value = None if error or result is None else result.get(self.metric)
            self._scores[trial_id] = float("nan") if value is None else float(value)

    def save(self, checkpoint_path: str) -> None:
        params = {t: {n: packed(self._ranges[n], v) for n, v in p.items()} for t, p in self._params.items()}
        scores = {t: s if np.isfinite(s) else None for t, s in self._scores.items()}
        Path(checkpoint_path).write_text(
            json.dumps({"format": FORMAT, "params": params, "scores": scores}), encoding="utf-8"
        )

    def restore(self, checkpoint_path: str) -> None:
        try:
            found = untrusted.read_json(checkpoint_path)
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']}")
            params = {t: {n: unpacked(self._ranges[n], v) for n, v in p.items()} for t, p in found["params"].items()}
            if any(v is ABSENT for p in params.values() for v in p.values()):
                raise ValueError("a value is none of its options")
            scores = {t: float("nan") if s is None else float(s) for t, s in found["scores"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, MetabenchError) as error:
            raise MetabenchError(f"{checkpoint_path} is no saved MetaSearch of this search space ({error})") from None
        self._params, self._scores = params, scores

    # ---------------------------------------------------------------- the search space
    def _open(self, config: MappingABC[str, Any]) -> None:
        self._config, self._domains = dict(config), domains(config)
        found = {name: own_range(domain) for name, domain in self._domains.items()}
        self._ranges = {name: given for name, given in found.items() if given is not None}
        mapping = Mapping.build(self.model.space, self._ranges, self._names, self._fixed)
        odd = {
            n: "what it is follows from a function"
            if isinstance(self._domains[n], Function)
            else "neither uniform, log-uniform nor a choice"
            for n, given in found.items()
            if given is None
        }
        if left := {**mapping.unmapped, **odd}:
            said = "; ".join(f"{name} ({reason})" for name, reason in left.items())
            warnings.warn(f"{self.model.name} does not guide {said}: drawn at random", UserWarning, stacklevel=3)
        self._guide = Guide(self.model, self.task, mapping, self.mode != "min", self.seed)

    def report(self) -> str:
        """What is guided, what is not and why, and what is assumed of hyperparameters that are not tuned."""
        return "" if self._guide is None else self._guide.mapping.report()
