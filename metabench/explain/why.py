"""Why a configuration is recommended: what each of its values adds to what the meta-model expects of it.

The meta-model's expectations over the space, on one task and after its trials, are learned by boosted trees, whose Shapley
values are exact and fast (Lundberg et al., "From local explanations to global understanding with explainable AI for trees",
Nature Machine Intelligence 2020; XGBoost's ``pred_contribs``). They add up: the mean over the space plus all contributions is
the trees' expectation, and ``fidelity`` says how well that is the meta-model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metabench.brief import brief
from metabench.extras import need
from metabench.metatrain import TaskInfo
from metabench.plain import plain
from metabench.space import Choice, Space

if TYPE_CHECKING:
    from metabench.pretrained import Pretrained
    from metabench.pretrained.neighbours import Neighbour
    from metabench.search.continuous import Trials
    from metabench.tasks import Task

#: scrambled Sobol configurations that the trees learn from, beside the source's; every HELD-th judges them
POINTS, HELD = 2048, 5
#: of those, the ones that the mean over the space is taken of
AVERAGED = 256
_TREES = {
    "max_depth": 6,
    "eta": 0.1,
    "min_child_weight": 2,
    "subsample": 0.8,
    "tree_method": "hist",
    "nthread": 1,
    "seed": 0,
}
_ROUNDS = 250


@brief
@dataclass(frozen=True)
class Why:
    """One configuration on one task, in percentiles: the expected share of all configurations that one beats.

    Attributes:
        config: The configuration.
        contributions: Columns ``hyperparameter``, ``value`` (None where inactive) and ``points``, the contribution of the
            value; largest effect first. The contribution of an inactive hyperparameter counts for its parent.
        base: Mean over the space.
        surrogate: Sum of ``base`` and all points.
        expected: The meta-model's prediction for the configuration.
        fidelity: R² of the trees on configurations that they did not learn from.
        nearest: The source tasks most similar to the task; empty where its features are unknown.
    """

    config: Mapping[str, Any]
    contributions: pd.DataFrame
    base: float
    surrogate: float
    expected: float
    fidelity: float
    nearest: tuple[Neighbour, ...]


def why(
    model: Pretrained,
    task: Task | TaskInfo | None = None,
    config: Mapping[str, Any] | None = None,
    history: Trials | None = None,
    k: int = 3,
) -> Why:
    """Explain why a configuration is recommended for a task, or is not.

    Args:
        model: A fitted meta-model.
        task: The task; None where nothing is known of it.
        config: The configuration; None for the one that the meta-model would try next. Values that only count on other
            tasks may be left out.
        history: Trials so far.
        k: Number of nearest tasks to name.

    Returns:
        The contribution of every value, and the nearest known tasks.

    Raises:
        UsageError: The configuration is not in the space, or the task is of another workload.
    """
    need("xgboost", "explain why")
    import xgboost

    info = model.info(task)
    space = model.space.for_task(info.kind)
    if config is None:
        row = model.ask(task, history, 1)
    else:
        ignored = {n: v for n, v in model.space.default().items() if n not in space}
        row = model.space.table([{**config, **{n: v for n, v in ignored.items() if n not in config}}])
    fresh = model.space.sample(POINTS, 1)
    known = model.configs.reset_index(drop=True)
    everything = pd.concat([row, known, fresh], ignore_index=True).astype({n: p.dtype for n, p in model.space.items()})
    said = model.predict(task, everything, history)["percentile"].to_numpy()
    x, owner = columns(space, everything)
    held = np.arange(len(fresh)) % HELD == 0
    judge = np.r_[[False] * (1 + len(known)), held]
    learn = ~judge
    booster = xgboost.train(
        {**_TREES, "objective": "reg:squarederror", "verbosity": 0}, xgboost.DMatrix(x[learn], said[learn]), _ROUNDS
    )
    guess = booster.predict(xgboost.DMatrix(x[judge]))
    spread = ((said[judge] - said[judge].mean()) ** 2).sum()
    fidelity = 1.0 - ((said[judge] - guess) ** 2).sum() / spread if spread > 0 else np.nan
    # contributions are to the mean over the space, which the source's configurations may not be drawn from
    parts = booster.predict(xgboost.DMatrix(x[-AVERAGED:]), pred_contribs=True).mean(axis=0)
    own = booster.predict(xgboost.DMatrix(x[:1]), pred_contribs=True)[0]
    points = dict(zip(space, np.bincount(owner, own[:-1] - parts[:-1]).tolist(), strict=True))
    values = {name: plain(row[name].iloc[0]) for name in space}
    for name in reversed(list(space)):  # children stand after their parents
        if values[name] is None:
            when = space[name].when
            assert when is not None  # only a condition makes it inactive
            points[when.parent] += points[name]
            points[name] = 0.0
    rows = [{"hyperparameter": n, "value": values[n], "points": points[n]} for n in space]
    frame = pd.DataFrame(rows).astype({"value": object})
    frame = frame.where(frame.notna(), None).astype({"points": float})
    frame = frame.sort_values("points", key=lambda s: -s.abs(), kind="stable", ignore_index=True)
    base = float(own[-1] + parts[:-1].sum())
    features = any(np.isfinite(v) for v in info.features.values())
    return Why(
        {n: v for n, v in values.items() if v is not None},
        frame,
        base,
        base + sum(points.values()),
        float(said[0]),
        float(fidelity),
        tuple(model.nearest(info, k)) if features else (),
    )


def columns(space: Space, configs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """What the trees see, float32 [n, columns], and the number of the hyperparameter that each column is of.

    Numbers in [0, 1], NaN where inactive; choices one-hot.
    """
    unit = space.to_unit(configs)
    blocks, owner = [], []
    for i, p in enumerate(space.values()):
        if isinstance(p, Choice):
            code = np.where(np.isnan(unit[:, i]), -1, np.nan_to_num(unit[:, i]) * len(p.options)).astype(int)
            blocks.append(code[:, None] == np.arange(len(p.options)))
        else:
            blocks.append(unit[:, i, None])
        owner += [i] * blocks[-1].shape[1]
    return np.concatenate(blocks, axis=1).astype(np.float32), np.array(owner)
