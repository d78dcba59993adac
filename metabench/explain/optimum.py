"""How the best value of a hyperparameter moves: with another hyperparameter, or with what is known of a task.

The best value is the centre of a task's best tenth of configurations, on the hyperparameter's scale. The peak of a partial
dependence is noisier (docs/notes/optimum.md). The centre is drawn towards the middle of the range, so trends are understated
rather than overstated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from metabench.brief import brief
from metabench.errors import UsageError
from metabench.explain.cases import source_of
from metabench.explain.effects import check
from metabench.metatrain import MetaTrain
from metabench.registry import suggest
from metabench.scores.aggregate import expanded_tail
from metabench.space import Choice, Float, Int, Ordinal, Parameter

#: share of a task's configurations that count as the best, and how many there must be
BEST, FEWEST = 0.1, 5
#: parts that a hyperparameter with many values is cut into
PARTS = 4
#: bootstrap draws over families; over families and configurations
RESAMPLES, DRAWS = 1000, 200


@brief
@dataclass(frozen=True)
class Optimum:
    """Where the best values of ``hyperparameter`` lie, and how they move with ``against``.

    ``points``: a row per task (and part of ``against``): task_id, family, ``x``, ``best`` in native units. ``line``: ``x``,
    ``value``, its 95 % interval ``low`` … ``high`` over families, native units, for a picture. ``slope`` with its interval
    ``slope_low`` … ``slope_high`` is in units of ``unit``; ``p`` tests that it is 0. Intervals are NaN with a single family.
    """

    hyperparameter: str
    against: str
    points: pd.DataFrame
    line: pd.DataFrame
    slope: float
    slope_low: float
    slope_high: float
    p: float
    unit: str
    log_x: bool
    log_value: bool

    @property
    def trend(self) -> bool:
        """Does the interval of the slope exclude 0?"""
        return bool(self.slope_low > 0 or self.slope_high < 0)

    @property
    def sentence(self) -> str:
        """The finding in words; that there is no trend where there is none."""
        tasks, families = self.points["task_id"].nunique(), self.points["family"].nunique()
        span = f"slope {self.slope:+.3g} {self.unit}, 95 % interval [{self.slope_low:+.3g}, {self.slope_high:+.3g}]"
        first, last = self.line["value"].iloc[0], self.line["value"].iloc[-1]
        ends = f"from {first:.3g} at {self.against} {self.line['x'].iloc[0]:.4g} to {last:.3g} at {self.line['x'].iloc[-1]:.4g}"
        what = f"the best {self.hyperparameter}"
        of = f"({tasks} tasks of {families} families; {span}, p {'< .001' if self.p < 0.001 else f'= {self.p:.3f}'})"
        if not np.isfinite(self.slope_low):
            return f"One family alone says nothing of a trend: {what} goes {ends} on it."
        if not self.trend:
            return f"No trend of {what} with {self.against} can be told from chance {of}."
        return f"With {self.against}, {what} {'rises' if self.slope > 0 else 'falls'}, {ends} {of}."


def optimum(
    table,
    workload: str,
    hyperparameter: str = "learning_rate",
    against: str = "n_train",
    tasks: Sequence[str] | None = None,
    given: Mapping[str, Sequence] | None = None,
) -> Optimum:
    """How the best values of a numeric hyperparameter move with another one, or with a fact of the task.

    Args:
        table: A table.
        workload: Whose hyperparameters.
        hyperparameter: The hyperparameter whose best values are estimated.
        against: Another hyperparameter, a size of the task (``n_train``, ``n_features``, ``n_classes`` …) or one of its
            features. Best values are estimated for each value of a hyperparameter, or in quarters of its range.
        tasks: Tasks to use; None for all.
        given: Only configurations with these values count: ``{"optimizer": ["adam", "adamw"]}``.

    Slopes are exponents where both scales are logarithmic (1 is proportional, 0 is no trend). Over hyperparameters the slope
    is that of the families' mean, with configurations and families resampled; over facts it is that of a line through the
    families, with these resampled.

    Args:
        table: the table of runs.
        workload: the network that was trained.
        hyperparameter: a numeric one.
        against: what its best values may move with.
        tasks: tasks to look at; None: all of the workload.
        given: values of other hyperparameters that configurations must have.

    Returns:
        The points, the line through them, its slope with an interval, and a test that it is 0.

    Raises:
        UsageError: A name does not exist, a hyperparameter is unordered, or tasks or configurations are too few.
    """
    source = source_of(table, workload, tasks)
    check(source, [hyperparameter])
    p = source.space[hyperparameter]
    if isinstance(p, Choice):
        raise UsageError(f"{hyperparameter} is a choice without an order; `effect` shows which option is best")
    keep = _kept(source, given or {}) & source.configs[hyperparameter].notna().to_numpy()
    usable = [i for i, info in enumerate(source.tasks) if hyperparameter in source.space.for_task(info.kind)]
    source = source.select(usable)
    if against in source.space:
        check(source, [hyperparameter, against])
        return _over_hyperparameter(source, hyperparameter, against, keep)
    facts = table.tasks.set_index("task_id").loc[[t.task_id for t in source.tasks]]
    return _over_fact(source, hyperparameter, against, keep, _fact(facts, against, source))


def _kept(source: MetaTrain, given: Mapping[str, Sequence]) -> np.ndarray:
    keep = np.ones(len(source.configs), dtype=bool)
    for name, values in given.items():
        check(source, [name])
        p = source.space[name]
        for value in values:
            if isinstance(p, Choice | Ordinal) and value not in p.options:
                raise suggest(str(value), [str(o) for o in p.options], f"value of {name}")
        keep &= source.configs[name].isin(list(values)).to_numpy()
    return keep


def _fact(facts: pd.DataFrame, against: str, source: MetaTrain) -> np.ndarray:
    """The fact of each task, float64 [tasks], NaN where there is none."""
    numeric = [str(c) for c in facts if pd.api.types.is_numeric_dtype(facts[c])]
    names = {c.removeprefix("feature_"): c for c in numeric}
    if against not in names:
        raise suggest(against, [*source.space, *names], "hyperparameter, size or feature")
    values = facts[names[against]].to_numpy(dtype=float, na_value=np.nan)
    # no classes: not a classification
    return np.where((values == 0) & (against == "n_classes"), np.nan, values)


def _over_fact(source: MetaTrain, name: str, against: str, keep: np.ndarray, fact: np.ndarray) -> Optimum:
    centre = _centres(source, name, np.flatnonzero(keep))
    known = np.isfinite(centre) & np.isfinite(fact)
    families = np.array([info.family for info in source.tasks])[known]
    x, log_x = _abscissa(fact[known])
    names = list(dict.fromkeys(families))
    weights = np.array([families == n for n in names], dtype=float).reshape(len(names), len(families))
    weights /= weights.sum(1, keepdims=True)
    u, z = weights @ x, weights @ centre[known]  # a point per family
    if len(names) < 3 or np.ptp(u) == 0:
        raise UsageError(
            f"a trend with {against} needs at least three families of tasks that differ in it; {len(names)} found"
        )
    slope, intercept = _line(u, z)
    rng = np.random.default_rng([0, 0x0971])
    draws = rng.integers(len(names), size=(RESAMPLES, len(names)))
    draws = draws[np.ptp(u[draws], axis=1) > 0]
    slopes, intercepts = _line(u[draws], z[draws])
    tail = 100 * expanded_tail(len(names))
    low, high = np.percentile(slopes, [tail, 100 - tail])
    at = np.linspace(u.min(), u.max(), 25)
    band = np.percentile(slopes[:, None] * at + intercepts[:, None], [tail, 100 - tail], axis=0)
    p = source.space[name]
    line = {"x": _native(at, log_x), "value": _value(p, slope * at + intercept)}
    line |= {"low": _value(p, band[0]), "high": _value(p, band[1])}
    points = pd.DataFrame(
        {
            "task_id": np.array([t.task_id for t in source.tasks])[known],
            "family": families,
            "x": fact[known],
            "best": _value(p, centre[known]),
        }
    )
    shuffled, _ = _line(rng.permuted(np.tile(u, (RESAMPLES, 1)), axis=1), z)
    chance = (1 + (np.abs(shuffled) >= abs(slope)).sum()) / (1 + RESAMPLES)
    return _made(p, name, against, points, pd.DataFrame(line), (slope, low, high), chance, log_x)


def _over_hyperparameter(source: MetaTrain, name: str, against: str, keep: np.ndarray) -> Optimum:
    q, column = source.space[against], source.configs[against]
    if isinstance(q, Choice):
        raise UsageError(f"{against} is a choice without an order; give optimum --given {against}=… for each option")
    parts = _parts(q, column, keep)
    x, log_x = _abscissa(np.array([centre for centre, _ in parts]), isinstance(q, Ordinal) or q.log)
    where = [np.flatnonzero(keep & rows) for _, rows in parts]
    z = np.stack([_centres(source, name, rows) for rows in where], axis=1)  # [tasks, parts]
    known = np.asarray(np.isfinite(z).all(axis=1))
    if len(parts) < 2 or not known.any():
        raise UsageError(f"too few configurations for the best {name} in parts of {against}")
    infos = [info for info, k in zip(source.tasks, known, strict=True) if k]
    names = list(dict.fromkeys(info.family for info in infos))
    weights = np.array([[info.family == n for info in infos] for n in names], dtype=float)
    weights /= weights.sum(1, keepdims=True)
    mean = (weights @ z[known]).mean(axis=0)
    # tasks share their configurations, so these are drawn anew as well as the families (Owen, 2007, "The pigeonhole
    # bootstrap"): with the families alone a chance pattern of the configurations would look like a finding
    rng, drawn = np.random.default_rng([0, 0x0972]), []
    for _ in range(DRAWS):
        some = np.stack([_centres(source, name, rng.choice(rows, len(rows))) for rows in where], axis=1)[known]
        drawn.append((weights @ some)[rng.integers(len(names), size=len(names))].mean(axis=0))
    drawn = np.column_stack([_line(x, np.array(drawn))[0], drawn])  # [draws, slope and parts]
    low, high = np.full((2, len(x) + 1), np.nan)
    if len(names) > 1:
        tail = 100 * expanded_tail(len(names))
        low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
    chance = min(1.0, 2 * (1 + min((drawn[:, 0] <= 0).sum(), (drawn[:, 0] >= 0).sum())) / (1 + DRAWS))
    p = source.space[name]
    line = {"x": _native(x, log_x), "value": _value(p, mean), "low": _value(p, low[1:]), "high": _value(p, high[1:])}
    points = pd.DataFrame(
        {
            "task_id": np.repeat([info.task_id for info in infos], len(parts)),
            "family": np.repeat([info.family for info in infos], len(parts)),
            "x": np.tile(_native(x, log_x), len(infos)),
            "best": _value(p, z[known].ravel()),
        }
    )
    return _made(p, name, against, points, pd.DataFrame(line), (_line(x, mean)[0], low[0], high[0]), chance, log_x)


def _made(p: Parameter, name, against, points, line, slope, chance, log_x) -> Optimum:
    log_value = _scale(p) == "log"
    exponent = log_x and log_value
    unit = (
        "" if exponent else "doublings" if log_value else "units of −log₂(1 − value)" if _scale(p) == "reverse" else ""
    )
    unit = "as an exponent" if exponent else f"{unit} per {'doubling' if log_x else 'unit'} of {against}".strip()
    mean, low, high = map(float, slope)
    return Optimum(name, against, points, line, mean, low, high, float(chance), unit, log_x, log_value)


def _centres(source: MetaTrain, name: str, rows: np.ndarray) -> np.ndarray:
    """Mean of the hyperparameter's scale over the best tenth of some configurations (positions, which may repeat), float64
    [tasks]; NaN for tasks where these are too few."""
    z = _coordinate(source.space[name], source.configs[name].to_numpy(dtype=float, na_value=np.nan)[rows])
    score = source.normal_scores[:, rows]
    poor = -np.where(np.isnan(score), -np.inf, score)
    count = np.round(BEST * (~np.isnan(score)).sum(axis=1)).astype(int)
    out = np.full(len(score), np.nan)
    for n in np.unique(count[count >= FEWEST]):
        mine = count == n
        out[mine] = z[np.argpartition(poor[mine], n - 1, axis=1)[:, :n]].mean(axis=1)
    return out


def _parts(q: Parameter, column: pd.Series, keep: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """(typical value, which rows) of each value of a hyperparameter, or of PARTS equally full parts of its range."""
    values = column.to_numpy(dtype=float, na_value=np.nan)
    distinct = np.unique(values[keep & ~np.isnan(values)])
    if len(distinct) <= 8:
        return [(v, values == v) for v in distinct]
    edges = np.quantile(values[keep & ~np.isnan(values)], np.linspace(0, 1, PARTS + 1))
    which = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, PARTS - 1)
    rows = [(which == k) & keep & ~np.isnan(values) for k in range(PARTS)]
    return [(float(_value(q, _coordinate(q, values[r]).mean())), r) for r in rows]


def _line(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept of the least-squares line along the last axis."""
    mx, my = x.mean(-1, keepdims=True), y.mean(-1, keepdims=True)
    slope = ((x - mx) * (y - my)).sum(-1) / ((x - mx) ** 2).sum(-1)
    return slope, my[..., 0] - slope * mx[..., 0]


# ---------------------------------------------------------------- scales
def _scale(p: Parameter) -> str:
    if isinstance(p, Ordinal):
        return "log" if p.options[0] > 0 else "linear"
    assert isinstance(p, Float | Int)  # choices have no scale
    return "log" if p.log else "reverse" if p.reverse else "linear"


def _coordinate(p: Parameter, value: np.ndarray) -> np.ndarray:
    """Native values on the scale that means are taken on; log₂ where it is logarithmic."""
    kind, value = _scale(p), np.asarray(value, dtype=float)
    return np.log2(value) if kind == "log" else -np.log2(1 - value) if kind == "reverse" else value


def _value(p: Parameter, z: np.ndarray) -> np.ndarray:
    kind, z = _scale(p), np.asarray(z, dtype=float)
    return 2.0**z if kind == "log" else 1 - 2.0**-z if kind == "reverse" else z


def _abscissa(values: np.ndarray, log: bool | None = None) -> tuple[np.ndarray, bool]:
    """A fact on the scale that a line is drawn over: log₂ where it is positive and spans a factor of eight."""
    if log is None:
        log = len(values) > 0 and values.min() > 0 and values.max() >= 8 * values.min()
    return (np.log2(values), True) if log else (values, False)


def _native(x: np.ndarray, log: bool) -> np.ndarray:
    return 2.0**x if log else x
