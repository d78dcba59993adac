"""Another tool's parameters as hyperparameters of a meta-model: names, scales, units and options, and what has none.

``lr`` in [1e-5, 1e-1] is ``learning_rate``; ``log10_lr`` in [−5, −1] is, too; ``"AdamW"`` is ``adamw``. Whatever is not plainly
the same is left alone and reported.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from metabench.brief import brief
from metabench.errors import UsageError
from metabench.interop.ranges import ABSENT, Listed, Numeric, Range, is_number
from metabench.interop.words import UNITS, option_of, recognised
from metabench.registry import suggest
from metabench.space import Choice, Float, Int, Ordinal, Parameter, Space


@brief
@dataclass(frozen=True)
class Link:
    """A parameter of the user's that is a hyperparameter of the meta-model."""

    name: str
    hyperparameter: str
    range: Range
    parameter: Parameter
    unit: str = "same"
    #: for each of the user's options the hyperparameter's, or a new one (:attr:`novel`), where this is a choice
    options: tuple[str, ...] | None = None

    @property
    def novel(self) -> dict[str, Any]:
        """Levels that the hyperparameter does not have → the user's option: nothing is known of them."""
        if self.options is None:
            return {}
        listed, choice = self._choice
        return {level: o for level, o in zip(self.options, listed.options) if level not in choice.options}

    @property
    def _choice(self) -> tuple[Listed, Choice]:
        """The user's options and the hyperparameter, where this is a choice."""
        assert isinstance(self.range, Listed) and isinstance(self.parameter, Choice)
        return self.range, self.parameter

    @property
    def _number(self) -> Float | Ordinal:
        """The hyperparameter, where it is a number."""
        assert not isinstance(self.parameter, Choice)
        return self.parameter

    def known(self, value: Any) -> Any:
        """The user's value as the meta-model has it.

        An option that it does not know is a new level. Where a hyperparameter is a number and the value is none, None and
        False are 0 if the hyperparameter may be 0; all else is NaN, a value of which nothing is known.
        """
        if self.options is not None:
            listed, choice = self._choice
            place = listed.place(value)
            if place is not None:
                return self.options[place]
            return option_of(choice, value) or str(value)
        if not is_number(value):
            return self._off if value is None or value is False else np.nan
        with np.errstate(over="ignore"):
            value = float(UNITS[self.unit][0](float(value)))
        if not np.isfinite(value):
            return np.nan
        return round(value) if isinstance(self.parameter, Int | Ordinal) else value

    @property
    def _off(self) -> float:
        """What None and False are where the hyperparameter is a number."""
        p = self._number
        low = p.options[0] if isinstance(p, Ordinal) else p.low
        whole = isinstance(p, Int | Ordinal)
        return np.nan if low != 0 else (0 if whole else 0.0)

    def own(self, value: Any) -> Any:
        """The user's value nearest to a hyperparameter's, ABSENT where the user has no such option."""
        if self.options is not None:
            found = (o for o, level in zip(self._choice[0].options, self.options, strict=True) if level == value)
            return next(found, ABSENT)
        if isinstance(self.range, Numeric):
            return self.range.nearest(float(UNITS[self.unit][1](float(value))))
        known = [self.known(o) for o in self.range.options]
        finite = [i for i, v in enumerate(known) if np.isfinite(v)]
        places = self._place([known[i] for i in finite])
        return self.range.options[finite[int(np.argmin(np.abs(places - self._place([value]))))]]

    def draw(self, u: np.ndarray) -> list[Any]:
        """Points of [0, 1] → values of the user's: all options, or numbers that are even on the hyperparameter's scale where
        both ranges overlap."""
        if isinstance(self.range, Listed):
            options = self.range.options
            return [options[min(int(x * len(options)), len(options) - 1)] for x in u]
        low, high = self.overlap
        a, b = self._place([low, high])
        return [self.own(v) for v in self._value(a + np.asarray(u) * (b - a))]

    @property
    def overlap(self) -> tuple[float, float]:
        """Where the user's numbers and the hyperparameter's overlap, in the latter's unit; empty when the first is larger."""
        p = self._number
        mine = (p.options[0], p.options[-1]) if isinstance(p, Ordinal) else (p.low, p.high)
        ends = [self.range.low, self.range.high] if isinstance(self.range, Numeric) else self.range.numbers
        theirs = sorted(float(UNITS[self.unit][0](float(v))) for v in ends)
        return max(mine[0], theirs[0]), min(mine[1], theirs[-1])

    def _place(self, values: Sequence[float]) -> np.ndarray:
        p, x = self._number, np.asarray(values, dtype=float)
        if isinstance(p, Ordinal) or p.log:
            return np.log(np.maximum(x, 1e-300))
        return -np.log1p(-np.minimum(x, 1 - 1e-12)) if p.reverse else x

    def _value(self, z: np.ndarray) -> np.ndarray:
        p = self._number
        if isinstance(p, Ordinal) or p.log:
            return np.exp(z)
        return -np.expm1(-z) if p.reverse else z


@brief
@dataclass(frozen=True)
class Mapping:
    """The way between a user's parameters and the space of a meta-model.

    ``unmapped``: parameter → why the meta-model does not guide it. ``untuned``: hyperparameters that the user
    does not tune → the value that is taken for them.
    """

    space: Space
    links: tuple[Link, ...]
    unmapped: MappingABC[str, str]
    untuned: MappingABC[str, Any]

    @classmethod
    def build(
        cls,
        space: Space,
        ranges: MappingABC[str, Range],
        names: MappingABC[str, Any] | None = None,
        fixed: MappingABC[str, Any] | None = None,
    ) -> Mapping:
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
        return cls(space, tuple(links), unmapped, _untuned(space, links, fixed))

    @cached_property
    def _default(self) -> dict[str, Any]:
        return self.space.default()

    @cached_property
    def extended(self) -> Space:
        """The meta-model's space with the user's options that it does not know."""
        novel = {link.hyperparameter: list(link.novel) for link in self.links if link.novel}
        if not novel:
            return self.space
        return Space(
            {
                n: Choice(*p.options, *novel[n], default=p.default, when=p.when)
                if n in novel and isinstance(p, Choice)
                else p
                for n, p in self.space.items()
            }
        )

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
            if own is ABSENT and config.get(link.hyperparameter) is not None:
                return None
            out[link.name] = link.draw(np.array([0.5]))[0] if own is ABSENT else own
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
        lines += [
            f"{k.name}={option!r} is no option of {k.hyperparameter}: tried as one of which nothing is known"
            for k in self.links
            for option in k.novel.values()
        ]
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
        target, unit = recognised(space, name)
        if target is None:
            return None, unit
    p = space[target]
    link = Link(name, target, given, p, unit)
    if isinstance(p, Choice):
        if isinstance(given, Numeric):
            return None, f"{target} is one of {', '.join(p.options)}, this is a number"
        if not any(option_of(p, o) for o in given.options):
            return None, f"none of its options is one of {target}"
        return Link(name, target, given, p, unit, _levels(p, given.options)), ""
    if isinstance(given, Listed) and not given.numbers:
        return None, f"{target} is a number, none of the options is"
    low, high = link.overlap
    if not (low <= high and np.isfinite([low, high]).all()):
        return None, f"its range lies outside that of {target}"
    return link, ""


def _levels(p: Choice, options: Sequence[Any]) -> tuple[str, ...]:
    """For each of a user's options the option of ``p`` that it is, or a new name, of its own."""
    out: list[str] = []
    for option in options:
        level = option_of(p, option)
        if level is None:
            level = str(option)
            while level in out or level in p.options:  # 1 and "1" read alike
                level += "'"
        out.append(level)
    return tuple(out)


def _untuned(space: Space, links: Sequence[Link], fixed: MappingABC[str, Any]) -> dict[str, Any]:
    """Values of the hyperparameters that are not tuned: fixed ones, defaults, and what makes tuned children active."""
    tuned, default = {link.hyperparameter for link in links}, space.default()
    out = {name: fixed.get(name, default[name]) for name in space if name not in tuned}
    for name in [*tuned, *fixed]:
        when = space[name].when
        if when is None or when.on_task or when.parent not in out or when.parent in fixed:
            continue
        if out[when.parent] not in when.values:
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
