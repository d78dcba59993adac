"""A space of hyperparameters: its configurations as tables, as points of the unit cube and as columns for models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd

from metabench.errors import UsageError
from metabench.space.parameters import Choice, Float, Int, Ordinal, Parameter, When, is_missing


@dataclass(frozen=True, init=False)
class Space(Mapping[str, Parameter]):
    """An ordered set of named hyperparameters. ``a | b`` joins two; a parent must stand before its children."""

    parameters: Mapping[str, Parameter] = field()

    def __init__(self, parameters: Mapping[str, Parameter] | None = None, /, **named: Parameter):
        object.__setattr__(self, "parameters", {**(parameters or {}), **named})
        seen: set[str] = set()
        for name, p in self.parameters.items():
            if p.when is not None and not p.when.on_task and p.when.parent not in seen:
                raise UsageError(f"hyperparameter {name}: its parent {p.when.parent!r} must stand before it")
            seen.add(name)

    def __getitem__(self, name: str) -> Parameter:
        return self.parameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __hash__(self):
        return hash(tuple(self.parameters.items()))

    def __repr__(self) -> str:
        names = list(self)
        return f"Space({', '.join(names[:6])}{f', … {len(names)} in all' if len(names) > 6 else ''})"

    def __or__(self, other: Space) -> Space:
        return Space({**self.parameters, **other.parameters})

    def for_task(self, kind: str) -> Space:
        """The space on one kind of task.

        Args:
            kind: such as ``classification``.

        Returns:
            The space without hyperparameters that are inactive there.
        """
        return Space({n: p for n, p in self.items() if p.when is None or not p.when.on_task or kind in p.when.values})

    # ---------------------------------------------------------------- tables
    def from_unit(self, u: np.ndarray) -> pd.DataFrame:
        """Points of the unit cube as configurations.

        Args:
            u: float [n, len(self)], a column per hyperparameter.

        Returns:
            A configuration table; inactive values are missing.

        Raises:
            UsageError: ``u`` has another shape.
        """
        u = np.asarray(u, dtype=np.float64)
        if u.ndim != 2 or u.shape[1] != len(self):
            raise UsageError(f"expected points of shape [n, {len(self)}], got {list(u.shape)}")
        columns = {n: pd.Series(p.from_unit(u[:, i])).astype(p.dtype) for i, (n, p) in enumerate(self.items())}
        return self._deactivate(pd.DataFrame(columns))

    def _deactivate(self, configs: pd.DataFrame) -> pd.DataFrame:
        active = self.active(configs)
        for i, (name, p) in enumerate(self.items()):
            if p.when is not None and not p.when.on_task:
                missing = None if p.dtype == "object" else (pd.NA if p.dtype == "Int64" else np.nan)
                configs[name] = configs[name].where(active[:, i], missing)
        return configs

    def active(self, configs: pd.DataFrame) -> np.ndarray:
        """Which hyperparameters count in which row.

        Args:
            configs: configuration table of n rows.

        Returns:
            bool [n, len(self)]: do the hyperparameter's parents allow it?
        """
        out = np.ones((len(configs), len(self)), dtype=bool)
        names = list(self)
        for i, p in enumerate(self.values()):
            if p.when is not None and not p.when.on_task:
                parent = names.index(p.when.parent)
                out[:, i] = configs[p.when.parent].isin(p.when.values).to_numpy() & out[:, parent]
        return out

    def same(self, a: pd.DataFrame, b: pd.DataFrame) -> bool:
        """Whether two tables hold the same configurations in the same order.

        Logarithms differ in their last bit between processors, and so do configurations that each of them draws.

        Args:
            a: configuration table.
            b: configuration table.

        Returns:
            True where all positions in the unit cube agree to 1e-9.
        """
        if len(a) != len(b):
            return False
        return bool(np.allclose(self.to_unit(a), self.to_unit(b), rtol=0, atol=1e-9, equal_nan=True))

    def to_unit(self, configs: pd.DataFrame) -> np.ndarray:
        """Configurations as points of the unit cube.

        Args:
            configs: configuration table of n rows.

        Returns:
            float64 [n, len(self)], a column per hyperparameter, NaN where it is inactive.

        Raises:
            UsageError: A column is absent or an option is unknown.
        """
        out = np.full((len(configs), len(self)), np.nan)
        for i, (name, p) in enumerate(self.items()):
            if name not in configs:
                raise UsageError(f"configuration table has no column {name!r}")
            present = configs[name].notna().to_numpy()
            if present.any():
                values = configs[name].to_numpy()[present]
                if isinstance(p, Float):
                    try:
                        values = values.astype(np.float64)
                    except (TypeError, ValueError):
                        raise UsageError(f"hyperparameter {name} is not numeric") from None
                out[present, i] = p.to_unit(values)
        return out

    @property
    def encoded_names(self) -> list[str]:
        """Names of the columns of :meth:`encode`."""
        names = []
        for name, p in self.items():
            names += [f"{name}={option}" for option in p.options] if isinstance(p, Choice) else [name]
            if p.when is not None and not p.when.on_task:
                names.append(f"{name}?")
        return names

    def encode(self, configs: pd.DataFrame) -> np.ndarray:
        """Configurations as columns for models.

        Numbers lie in [0, 1] (0.5 where inactive), choices are one-hot (zeros where inactive), and every conditional
        hyperparameter is followed by an "active" column.

        Args:
            configs: configuration table of n rows.

        Returns:
            float32 [n, len(encoded_names)].
        """
        unit = self.to_unit(configs)
        blocks = []
        for i, p in enumerate(self.values()):
            u, present = unit[:, i], ~np.isnan(unit[:, i])
            if isinstance(p, Choice):
                codes = np.where(present, np.nan_to_num(u) * len(p.options), -1).astype(int)
                blocks.append((codes[:, None] == np.arange(len(p.options))).astype(np.float32))
            else:
                blocks.append(np.where(present, u, 0.5)[:, None].astype(np.float32))
            if p.when is not None and not p.when.on_task:
                blocks.append(present[:, None].astype(np.float32))
        return np.concatenate(blocks, axis=1)

    def sample(self, n: int, seed: int, method: str = "sobol") -> pd.DataFrame:
        """Configurations spread over the space.

        Args:
            n: how many.
            seed: decides which.
            method: ``sobol`` (scrambled; prefixes of one seed nest) or ``random``.

        Returns:
            A configuration table of n rows.

        Raises:
            UsageError: The method is unknown.
        """
        if method == "sobol":
            from scipy.stats import qmc

            m = max(0, math.ceil(math.log2(max(n, 1))))
            u = qmc.Sobol(len(self), scramble=True, rng=np.random.default_rng(seed)).random_base2(m)[:n]
        elif method == "random":
            u = np.random.default_rng(seed).random((n, len(self)))
        else:
            raise UsageError(f"unknown sampling method {method!r}; known: sobol, random")
        return self.from_unit(u)

    # ---------------------------------------------------------------- single configurations
    def default(self) -> dict[str, Any]:
        """The workload's sensible default.

        Returns:
            A valid configuration; the middle of the range where no default is declared.
        """
        u = np.full((1, len(self)), 0.5)
        row = cast("dict[str, Any]", self.from_unit(u).iloc[0].to_dict())
        row.update({n: p.default for n, p in self.items() if p.default is not None})
        return self.validate({n: v for n, v in row.items() if not is_missing(v)} | self._filled(row))

    def _filled(self, row: dict[str, Any]) -> dict[str, Any]:
        """Values for children whose parent's default activates them."""
        frame = pd.DataFrame([row]).astype({n: p.dtype for n, p in self.items()})
        active = self.active(frame)[0]
        middle = {n: p.from_unit(np.array([0.5]))[0] for n, p in self.items()}
        return {
            n: (p.default if p.default is not None else middle[n]) if active[i] else None
            for i, (n, p) in enumerate(self.items())
        }

    def validate(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration checked and completed.

        Args:
            config: hyperparameter → value; inactive ones may be absent.

        Returns:
            A value for every hyperparameter; None where it is inactive.

        Raises:
            UsageError: It names the first hyperparameter that is unknown, absent, of the wrong type or out of range.
        """
        for name in config:
            if name not in self.parameters:
                raise UsageError(f"unknown hyperparameter {name!r}; known: {', '.join(self)}")
        out: dict[str, Any] = {}
        for name, p in self.items():
            value = config.get(name)
            on = p.when is None or p.when.on_task or out.get(p.when.parent) in p.when.values
            if not on:
                out[name] = None
                continue
            if is_missing(value):
                raise UsageError(f"hyperparameter {name} is missing")
            try:
                out[name] = p.check(value)
            except (ValueError, TypeError) as error:
                raise UsageError(f"hyperparameter {name}: {error}") from None
        return out

    def table(self, configs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """Configurations as a table.

        Args:
            configs: the configurations; each is validated.

        Returns:
            A row for each, a typed column for each hyperparameter.
        """
        rows = [self.validate(c) for c in configs]
        return pd.DataFrame({n: pd.Series([row[n] for row in rows], dtype=p.dtype) for n, p in self.items()})

    # ---------------------------------------------------------------- exchange
    def to_json(self) -> dict[str, Any]:
        """A plain description.

        Returns:
            What :meth:`from_json` reads back.
        """
        out = {}
        for name, p in self.items():
            d: dict[str, Any] = {"type": type(p).__name__.lower()}
            if isinstance(p, Float):
                d |= {"low": p.low, "high": p.high, "log": p.log, "reverse": p.reverse}
            else:
                d |= {"options": list(p.options)}
            if p.default is not None:
                d["default"] = p.default
            if p.when is not None:
                d["when"] = {"parent": p.when.parent, "values": list(p.when.values), "on_task": p.when.on_task}
            out[name] = d
        return out

    @classmethod
    def from_json(cls, description: Mapping[str, Any]) -> Space:
        """A space from its description.

        Args:
            description: what :meth:`to_json` returned.

        Returns:
            The space.

        Raises:
            UsageError: The description is malformed.
        """
        types = {"float": Float, "int": Int, "choice": Choice, "ordinal": Ordinal}
        parameters = {}
        if not isinstance(description, Mapping):
            found = type(description).__name__
            raise UsageError(f"space description: expected an object of hyperparameters, got {found}")
        for name, d in description.items():
            try:
                w = d.get("when")
                extra = {
                    "default": d.get("default"),
                    "when": When(w["parent"], tuple(w["values"]), bool(w["on_task"])) if w else None,
                }
                kind = types[d["type"]]
                if issubclass(kind, Float):
                    parameters[name] = kind(d["low"], d["high"], bool(d["log"]), bool(d["reverse"]), **extra)
                else:
                    parameters[name] = kind(*d["options"], **extra)
            except (KeyError, TypeError, ValueError, OverflowError, AttributeError, UsageError) as error:
                raise UsageError(f"space description: hyperparameter {name!r} is malformed ({error})") from None
        return cls(parameters)
