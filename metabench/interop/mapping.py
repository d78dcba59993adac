"""Another tool's parameters as hyperparameters of a meta-model: names, scales, units and options, and what has none.

``lr`` in [1e-5, 1e-1] is ``learning_rate``; ``log10_lr`` in [−5, −1] is, too; ``"AdamW"`` is ``adamw``. Whatever is not plainly
the same is left alone and reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from metabench.errors import UsageError
from metabench.registry import suggest
from metabench.space import Choice, Int, Ordinal, Parameter, Space

#: hyperparameter → what else it is called; compared without case, underscores and dashes
ALIASES = {
    "learning_rate": "lr init_lr base_lr initial_lr lr0 eta step_size learning_rate_init",
    "batch_size": "bs batch minibatch_size train_batch_size per_device_train_batch_size",
    "optimizer": "opt optim optimiser optimizer_name optimizer_type",
    "weight_decay": "wd l2 l2_reg l2_penalty weight_decay_rate",
    "momentum": "mom sgd_momentum",
    "beta1": "b1 beta_1 adam_beta1",
    "beta2": "b2 beta_2 adam_beta2",
    "schedule": "scheduler lr_schedule lr_scheduler lr_scheduler_type",
    "warmup": "warmup_ratio warmup_fraction warmup_share",
    "clip_norm": "max_grad_norm grad_clip gradient_clip gradient_clip_val grad_clip_norm clip_grad_norm max_norm",
    "width": "hidden hidden_size hidden_dim hidden_units n_hidden n_units num_units units n_neurons layer_size",
    "depth": "n_layers num_layers layers hidden_layers n_hidden_layers num_hidden_layers",
    "activation": "act act_fn activation_fn activation_function nonlinearity",
    "dropout": "dropout_rate dropout_p dropout_prob p_dropout drop drop_rate",
    "norm": "normalization normalisation norm_layer norm_type",
    "init_scale": "init_gain gain weight_scale",
    "label_smoothing": "smoothing",
    "input_noise": "noise noise_std gaussian_noise",
}
#: option → what else it is called
OPTIONS = {
    "momentum": "sgd_momentum sgdm",
    "nesterov": "sgd_nesterov nag",
    "silu": "swish",
    "layer": "layer_norm ln",
    "none": "off no false identity",
    "norm": "on yes true clip_norm",
    "constant": "constant_lr none fixed",
    "step": "step_lr",
    "exponential": "exponential_lr exp",
    "cosine": "cosine_annealing cosine_annealing_lr",
    "one_cycle": "one_cycle_lr",
}
#: a parameter in another unit: prefix or suffix of its name → unit
PREFIXES = {"log10": "log10", "log2": "log2", "ln": "ln", "oneminus": "one_minus", "1minus": "one_minus"}
SUFFIXES = {"percent": "percent", "pct": "percent"}
#: unit → (to the hyperparameter's own, back)
UNITS = {
    "same": (lambda x: x, lambda x: x),
    "log10": (lambda x: 10.0**x, np.log10),
    "log2": (lambda x: 2.0**x, np.log2),
    "ln": (np.exp, np.log),
    "percent": (lambda x: x / 100.0, lambda x: x * 100.0),
    "one_minus": (lambda x: 1.0 - x, lambda x: 1.0 - x),
}


@dataclass(frozen=True)
class Numeric:
    """Numbers in [low, high], in steps from ``low`` where ``step`` says so; ``whole`` ones are int."""

    low: float
    high: float
    log: bool = False
    whole: bool = False
    step: float | None = None

    def nearest(self, value: float) -> float | int:
        value = min(max(float(value), self.low), self.high)
        if self.step:
            value = min(self.low + round((value - self.low) / self.step) * self.step, self.high)
        return round(value) if self.whole else float(value)


@dataclass(frozen=True)
class Listed:
    """One of several values."""

    options: tuple[Any, ...]

    @property
    def numeric(self) -> bool:
        return all(isinstance(o, Real) and not isinstance(o, bool) for o in self.options)


Range = Numeric | Listed


def packed(given: Range, value: Any) -> Any:
    """A value as JSON has it: options by their place."""
    return given.options.index(value) if isinstance(given, Listed) else value


def unpacked(given: Range, value: Any) -> Any:
    """The value again; None where the range has changed so much that it is none of it."""
    if isinstance(given, Numeric):
        return given.nearest(value)
    return given.options[value] if isinstance(value, int) and 0 <= value < len(given.options) else None


def range_of(name: str, spec: Any) -> Range:
    """A range written plainly: ``(low, high)``, ``(low, high, "log")`` (integers where both ends are), or a list of options."""
    if isinstance(spec, Numeric | Listed):
        return spec
    if isinstance(spec, list) and spec:
        return Listed(tuple(spec))
    if isinstance(spec, tuple) and spec[2:] in ((), ("log",)):
        ends = len(spec) >= 2 and all(isinstance(v, Real) for v in spec[:2])
        if ends and spec[0] < spec[1]:
            return Numeric(*map(float, spec[:2]), log=len(spec) == 3, whole=all(isinstance(v, int) for v in spec[:2]))
    raise UsageError(
        f"parameter {name}: {spec!r} is no range; write (low, high), (low, high, 'log') or a list of options"
    )


def plain(name: Any) -> str:
    return re.sub(r"[^a-z0-9]+", "", str(name).lower())


@dataclass(frozen=True)
class Link:
    """A parameter of the user's that is a hyperparameter of the meta-model."""

    name: str
    hyperparameter: str
    range: Range
    parameter: Parameter
    unit: str = "same"
    #: user's option → the hyperparameter's, where this is a choice
    options: MappingABC[Any, str] | None = None

    def known(self, value: Any) -> Any:
        """The user's value as the meta-model has it; an option that it does not know stays as it is."""
        if self.options is not None:
            return self.options.get(value, str(value))
        value = float(UNITS[self.unit][0](float(value)))
        return round(value) if isinstance(self.parameter, Int | Ordinal) else value

    def own(self, value: Any) -> Any:
        """The user's value nearest to a hyperparameter's, None where the user has no such option."""
        if self.options is not None:
            return next((mine for mine, theirs in self.options.items() if theirs == value), None)
        if isinstance(self.range, Numeric):
            return self.range.nearest(float(UNITS[self.unit][1](float(value))))
        places = self._place([self.known(o) for o in self.range.options])
        return self.range.options[int(np.argmin(np.abs(places - self._place([value]))))]

    def draw(self, u: np.ndarray) -> list[Any]:
        """Points of [0, 1] → values of the user's, even on the hyperparameter's scale, where both ranges overlap."""
        if isinstance(self.range, Listed):
            options = [o for o in self.range.options if self.options is None or o in self.options]
            return [options[min(int(x * len(options)), len(options) - 1)] for x in u]
        low, high = self.overlap
        a, b = self._place([low, high])
        return [self.own(v) for v in self._value(a + np.asarray(u) * (b - a))]

    @property
    def overlap(self) -> tuple[float, float]:
        """Where the user's numbers and the hyperparameter's overlap, in the latter's unit; empty when the first is larger."""
        p = self.parameter
        mine = (p.options[0], p.options[-1]) if isinstance(p, Ordinal) else (p.low, p.high)
        ends = [self.range.low, self.range.high] if isinstance(self.range, Numeric) else list(self.range.options)
        theirs = sorted(float(UNITS[self.unit][0](float(v))) for v in ends)
        return max(mine[0], theirs[0]), min(mine[1], theirs[-1])

    def _place(self, values: Sequence[float]) -> np.ndarray:
        x = np.asarray(values, dtype=float)
        if isinstance(self.parameter, Ordinal) or self.parameter.log:
            return np.log(np.maximum(x, 1e-300))
        return -np.log1p(-np.minimum(x, 1 - 1e-12)) if self.parameter.reverse else x

    def _value(self, z: np.ndarray) -> np.ndarray:
        if isinstance(self.parameter, Ordinal) or self.parameter.log:
            return np.exp(z)
        return -np.expm1(-z) if self.parameter.reverse else z


@dataclass(frozen=True)
class Mapping:
    """The way between a user's parameters and the space of a meta-model.

    ``unmapped``: parameter, or option of one → why the meta-model does not guide it. ``untuned``: hyperparameters that the user
    does not tune → the value that is taken for them.
    """

    space: Space
    links: tuple[Link, ...]
    unmapped: MappingABC[str, str]
    untuned: MappingABC[str, Any]

    @classmethod
    def build(
        cls, space: Space, ranges: MappingABC[str, Range], names: MappingABC[str, Any] | None = None,
        fixed: MappingABC[str, Any] | None = None,
    ) -> Mapping:  # fmt: skip
        """``names`` says what a parameter is where its name does not: a hyperparameter, (hyperparameter, unit), or None to
        leave it alone. ``fixed`` gives values of hyperparameters that are not tuned; others have their defaults, or
        whatever makes the tuned ones active.

        Raises UsageError for names, units and values that do not exist.
        """
        names, fixed = dict(names or {}), dict(fixed or {})
        for name, target in names.items():
            hyperparameter, unit = target if isinstance(target, tuple) else (target, "same")
            if hyperparameter is not None and hyperparameter not in space:
                raise suggest(str(hyperparameter), list(space), f"hyperparameter (for parameter {name})")
            if unit not in UNITS:
                raise suggest(str(unit), list(UNITS), f"unit (for parameter {name})")
        for name in fixed:
            if name not in space:
                raise suggest(name, list(space), "fixed hyperparameter")
        links: list[Link] = []
        unmapped: dict[str, str] = {}
        taken = set(fixed)
        for name, given in ranges.items():
            link, reason = _link(space, name, given, names)
            if link is not None and link.hyperparameter in taken:
                link, reason = None, f"{link.hyperparameter} is already fixed or another parameter"
            if link is None:
                unmapped[name] = reason
                continue
            taken.add(link.hyperparameter)
            links.append(link)
            for option in given.options if link.options is not None else ():
                if option not in link.options:
                    unmapped[f"{name}={option}"] = f"no option of {link.hyperparameter}"
        return cls(space, tuple(links), unmapped, _untuned(space, links, fixed))

    @cached_property
    def _default(self) -> dict[str, Any]:
        return self.space.default()

    def config(self, params: MappingABC[str, Any]) -> dict[str, Any]:
        """A user's values → a configuration of the space: what is not among them is untuned or inactive."""
        given = {link.hyperparameter: link.known(params[link.name]) for link in self.links if link.name in params}
        out: dict[str, Any] = {}
        for name, p in self.space.items():
            on = p.when is None or p.when.on_task or out.get(p.when.parent) in p.when.values
            value = given.get(name, self.untuned.get(name, self._default[name])) if on else None
            out[name] = _middle(p) if on and value is None else value
        return out

    def params(self, config: MappingABC[str, Any]) -> dict[str, Any] | None:
        """The user's values nearest to a configuration, the defaults where it has none; None where an option is missing."""
        out = {}
        for link in self.links:
            value = config.get(link.hyperparameter)
            if value is None or value is pd.NA or value != value:
                value = self._default[link.hyperparameter]
            if value is None:
                value = _middle(link.parameter)
            own = link.own(value)
            if own is None and config.get(link.hyperparameter) is not None:
                return None
            out[link.name] = link.draw(np.array([0.5]))[0] if own is None else own
        return out

    def table(self, configs: Sequence[MappingABC[str, Any]]) -> pd.DataFrame:
        """Configurations as a table with the space's columns and types."""
        return pd.DataFrame({n: pd.Series([c[n] for c in configs], dtype=p.dtype) for n, p in self.space.items()})

    def pool(self, n: int, seed: int, known: pd.DataFrame) -> list[dict[str, Any]]:
        """Candidates in the user's parameters: the nearest to each ``known`` configuration, the default first, and ``n``
        scrambled Sobol points of the user's own ranges; each once."""
        from scipy.stats import qmc

        rows = known.astype(object).where(known.notna(), None).to_dict("records")
        out = [self.params(row) for row in [self._default, *rows]]
        if self.links and n:
            u = qmc.Sobol(len(self.links), rng=np.random.default_rng([seed, 0x3A9])).random(n)
            columns = [link.draw(column) for link, column in zip(self.links, u.T, strict=True)]
            out += [
                dict(zip([link.name for link in self.links], row, strict=True)) for row in zip(*columns, strict=True)
            ]
        kept = {tuple(map(repr, params.values())): params for params in reversed(out) if params is not None}
        return list(kept.values())[::-1]

    def report(self) -> str:
        """What is guided, what is not and why, and what is assumed of the rest, a line each."""
        lines = [f"{k.name} is {k.hyperparameter}" + f" ({k.unit})" * (k.unit != "same") for k in self.links]
        lines += [f"{name} is not guided: {reason}" for name, reason in self.unmapped.items()]
        assumed = ", ".join(f"{name} = {_shown(value)}" for name, value in self.untuned.items() if value is not None)
        return "\n".join([*lines, *([f"not tuned, taken as: {assumed}"] if assumed else [])])


def _link(space: Space, name: str, given: Range, names: MappingABC[str, Any]) -> tuple[Link | None, str]:
    """The link of a parameter, or None and why there is none."""
    if name in names:
        target, unit = names[name] if isinstance(names[name], tuple) else (names[name], "same")
        if target is None:
            return None, "left alone"
    else:
        target, unit = _recognised(space, name)
        if target is None:
            return None, unit
    p = space[target]
    link = Link(name, target, given, p, unit)
    if isinstance(p, Choice):
        if isinstance(given, Numeric):
            return None, f"{target} is one of {', '.join(p.options)}, this is a number"
        found = {o: match for o in given.options if (match := _option(p, o)) is not None}
        return (
            (Link(name, target, given, p, unit, found), "")
            if found
            else (None, f"none of its options is one of {target}")
        )
    if isinstance(given, Listed) and not given.numeric:
        return None, f"{target} is a number, this has options that are none"
    low, high = link.overlap
    if not (low <= high and np.isfinite([low, high]).all()):
        return None, f"its range lies outside that of {target}"
    return link, ""


def _recognised(space: Space, name: str) -> tuple[str | None, str]:
    """(hyperparameter, unit) that a name plainly says, or (None, why not)."""
    known = {plain(n): n for n in space}
    for target, others in ALIASES.items():
        if target in space:
            known |= {plain(other): target for other in others.split() if plain(other) not in known}
    last = plain(re.split(r"[./:]|__", name)[-1])
    if last in known:
        return known[last], "same"
    for prefix, unit in PREFIXES.items():
        if last.startswith(prefix) and last.removeprefix(prefix) in known:
            return known[last.removeprefix(prefix)], unit
    for suffix, unit in SUFFIXES.items():
        if last.endswith(suffix) and last.removesuffix(suffix) in known:
            return known[last.removesuffix(suffix)], unit
    if last.startswith("log") and last.removeprefix("log") in known:
        target = known[last.removeprefix("log")]
        return None, f"the logarithm's base is unclear; say names={{{name!r}: ({target!r}, 'log10')}} or 'ln'"
    return None, "no hyperparameter of that name"


def _option(p: Choice, option: Any) -> str | None:
    said = "none" if option is None else plain(option)
    direct = {plain(o): o for o in p.options}
    for o in p.options:
        direct |= {plain(other): o for other in OPTIONS.get(o, "").split() if plain(other) not in direct}
    return direct.get(said)


def _untuned(space: Space, links: Sequence[Link], fixed: MappingABC[str, Any]) -> dict[str, Any]:
    """Values of the hyperparameters that are not tuned: fixed ones, defaults, and what makes tuned children active."""
    tuned, default = {link.hyperparameter for link in links}, space.default()
    out = {name: fixed.get(name, default[name]) for name in space if name not in tuned}
    for name in [*tuned, *fixed]:
        when = space[name].when
        free = when is not None and not when.on_task and when.parent in out and when.parent not in fixed
        if free and out[when.parent] not in when.values:
            out[when.parent] = when.values[0]
    for name, value in fixed.items():
        try:
            out[name] = space[name].check(value)
        except (ValueError, TypeError) as error:
            raise UsageError(f"fixed {name}: {error}") from None
    return out


def _middle(p: Parameter) -> Any:
    return p.default if p.default is not None else p.from_unit(np.array([0.5]))[0]


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
