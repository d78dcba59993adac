"""Functional ANOVA of a score over a space: how much of its variance each hyperparameter, and each pair, explains.

The method of Hutter, Hoos & Leyton-Brown ("An efficient approach for assessing hyperparameter importance", ICML 2014): a
random forest predicts the score, and since a tree is constant on boxes, its mean over all other hyperparameters is a sum
over leaves (their Eq. 4 and Algorithm 2) instead of an average of samples. Three things differ:

- The function that is decomposed is the forest's mean, not each tree by itself, whose variance is in good part that of its
  bootstrap sample; the importances of single trees dilute what matters.
- Numbers are cut into equal steps of their declared scale, so that all trees share one grid and pairs are exact, too.
- Conditional hyperparameters keep a coordinate of their own where they are inactive, on which the score does not depend.
  The coordinates are then independent, as the decomposition demands: that a parent switches a child off counts for the
  parent, what the child's value does where it is active counts for the child, and how that differs between the parent's
  options for the pair. No value is made up: a tree sees "inactive" as a value of its own, outside the scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from metabench.brief import brief
from metabench.errors import UsageError
from metabench.explain.grid import INACTIVE, Grid

#: trees, and rows in a leaf at least
TREES, LEAF = 32, 3
#: points that the variance of a forest and total effects are measured on (a scrambled Sobol sequence)
POINTS = 4096


class Forest:
    """A random forest (Breiman, 2001) over a grid, and its exact means over any of the hyperparameters.

    ``r2`` is the share of the scores' variance that the trees explain on rows that they did not see (out of bag): how much
    of the truth an importance speaks of.
    """

    def __init__(
        self, grid: Grid, codes: np.ndarray, y: np.ndarray, seed: int = 0, trees: int = TREES, leaf: int = LEAF
    ):
        """Fit to scores ``y`` float64 [n] of points ``codes`` int16 [n, axes]. Raises UsageError under eight rows."""
        from sklearn.ensemble import RandomForestRegressor

        if len(y) < 8:
            raise UsageError(f"{len(y)} configurations are too few to tell what matters; at least 8 are needed")
        self.grid = grid
        self._orders = [self._order(i, codes[:, i], y) for i in range(len(grid.axes))]
        model = RandomForestRegressor(trees, min_samples_leaf=leaf, max_features=0.6, oob_score=True, random_state=seed)
        x = self._columns(codes)
        model.fit(x, y)
        self._model = model
        self.r2 = float(model.oob_score_)

    def _order(self, axis: int, codes: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The place of each value in the column that trees split: options stand by their mean score (Fisher, 1958: the
        best split of options is one of that order), numbers as they are; the last entry is INACTIVE."""
        n = len(self.grid.axes[axis])
        if self.grid.axes[axis].ordered:
            return np.append(np.arange(n), INACTIVE)
        means = [y[codes == c].mean() if (codes == c).any() else y.mean() for c in range(n)]
        return np.append(np.argsort(np.argsort(means, kind="stable")), INACTIVE)

    def _columns(self, codes: np.ndarray) -> np.ndarray:
        """Codes → what the trees see, float32 [n, axes]."""
        return np.stack([order[c] for order, c in zip(self._orders, codes.T, strict=True)], axis=1).astype(np.float32)

    def predict(self, codes: np.ndarray) -> np.ndarray:
        """Mean prediction of the trees, float64 [n]; of coordinates where a parent makes them inactive nothing depends."""
        return self._model.predict(self._columns(self.grid.deactivate(codes)))

    # ---------------------------------------------------------------- leaves
    @cached_property
    def _leaves(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """All trees' leaves: values [leaves], already divided by the number of trees, and for every axis which values
        reach a leaf, float64 [leaves, values + 1]; the last column is INACTIVE."""
        values, lows, highs = [], [], []
        for tree in (estimator.tree_ for estimator in self._model.estimators_):
            low = np.full((tree.node_count, len(self.grid.axes)), -np.inf)
            high = np.full_like(low, np.inf)
            inner = np.flatnonzero(tree.children_left >= 0)  # parents stand before their children
            for node in inner:
                left, right, column = tree.children_left[node], tree.children_right[node], tree.feature[node]
                low[[left, right]], high[[left, right]] = low[node], high[node]
                high[left, column] = low[right, column] = tree.threshold[node]
            leaf = tree.children_left < 0
            values.append(tree.value[leaf, 0, 0] / len(self._model.estimators_))
            lows.append(low[leaf])
            highs.append(high[leaf])
        low, high = np.concatenate(lows), np.concatenate(highs)
        masks = [
            ((order[None, :] > low[:, i, None]) & (order[None, :] <= high[:, i, None])).astype(float)
            for i, order in enumerate(self._orders)
        ]
        return np.concatenate(values), masks

    def _reach(self, axis: int, free: Sequence[int], only: Mapping[int, np.ndarray], active: bool = True) -> np.ndarray:
        """The share of a leaf that axis and all that hang on it leave, [leaves, …]: integrated over their coordinates but
        for those of ``free``, each of which keeps a dimension of its own (in the order of ``free``; others have length 1).

        ``only`` replaces the weights of an axis. Coordinates are independent, so this is a product over children inside a
        sum over the parent's values.
        """
        mask = self._leaves[1][axis]
        below = self.grid.children.get(self.grid.axes[axis].name, [])
        shape = [1] * len(free)
        if not active:
            out = mask[:, -1].reshape(-1, *shape)
            for child in below:
                out = out * self._reach(child, free, only, active=False)
            return out
        if axis in free:
            shape[list(free).index(axis)] = len(self.grid.axes[axis])
        terms = mask[:, :-1]  # [leaves, values]
        on = {child: self._reach(child, free, only) for child in below}
        off = {child: self._reach(child, free, only, active=False) for child in below}
        weights = only.get(axis, self.grid.axes[axis].weights)
        total: Any = 0.0
        parts = []
        for value in range(terms.shape[1]):
            part = terms[:, value].reshape(-1, *([1] * len(free)))
            for child in below:
                part = part * (on if self.grid.axes[child].activating[value] else off)[child]
            if axis in free:
                parts.append(part)
            else:
                total = total + weights[value] * part
        if axis not in free:
            return total
        at = 1 + list(free).index(axis)
        parts = np.broadcast_arrays(*parts)
        return np.concatenate(parts, axis=at)

    def _root(self, axis: int) -> int:
        while (parent := self.grid.axes[axis].parent) is not None:
            axis = self.grid.place[parent]
        return axis

    def marginal(self, names: Sequence[str], where_active: bool = False) -> np.ndarray:
        """E[prediction | the named hyperparameters], one or two of them, float64 [values of the first, of the second], over
        the uniform distribution of the space (partial dependence, Friedman 2001, exactly).

        A value of a conditional hyperparameter stands for its coordinate, active or not; ``where_active`` restricts its
        parents to the values that activate it.
        """
        free = [self.grid.place[name] for name in names]
        only = self._activating(free) if where_active else {}
        roots = [self._root(axis) for axis in free]
        touched = {*roots, *map(self._root, only)}
        rest = self._leaves[0] * self._shares(touched)
        for root in touched - set(roots):
            rest = rest * self._reach(root, (), only)
        if len(set(roots)) == 1:
            return self._within(roots[0], free, only, rest)
        first, second = (self._reach(root, [axis], only) for root, axis in zip(roots, free, strict=True))
        return (first * rest[:, None]).T @ second

    def _within(self, root: int, free: list[int], only: Mapping[int, np.ndarray], rest: np.ndarray) -> np.ndarray:
        """:meth:`marginal` where all of ``free`` hang on one root (or are it), ``rest`` [leaves] being all else."""
        below = self.grid.children.get(self.grid.axes[root].name, [])
        mine = {child: [axis for axis in free if self._is_below(axis, child)] for child in below}
        reach = {(child, on): self._reach(child, mine[child], only, on) for child in below for on in (True, False)}
        weights = only.get(root, self.grid.axes[root].weights)
        rows = []
        for value, weight in enumerate(weights):
            leaf, parts = rest * self._leaves[1][root][:, value], []
            for child in below:
                part = reach[child, self.grid.axes[child].activating[value]]
                if mine[child]:
                    parts.append((mine[child], part))
                else:
                    leaf = leaf * part
            if root in free:
                weight = 1.0
            if len(parts) == 2:
                (a, first), (b, second) = parts
                row = (first * leaf[:, None]).T @ second
                row = row if free == a + b else row.T
            elif parts:
                row = np.tensordot(leaf, parts[0][1], 1)
            else:
                row = np.asarray(leaf.sum())
            size = [len(self.grid.axes[axis]) for axis in free if axis != root]
            rows.append(weight * np.broadcast_to(row, size))
        return np.stack(rows, axis=free.index(root)) if root in free else np.sum(rows, axis=0)

    def _is_below(self, axis: int, ancestor: int) -> bool:
        while axis != ancestor and (parent := self.grid.axes[axis].parent) is not None:
            axis = self.grid.place[parent]
        return axis == ancestor

    def _shares(self, left_out: set[int]) -> np.ndarray:
        """The share of each leaf over all groups of hyperparameters but those of some roots, [leaves]."""
        return np.prod([share for root, share in self._groups.items() if root not in left_out], axis=0)

    @cached_property
    def _groups(self) -> dict[int, np.ndarray]:
        """Root → the share of each leaf that it and all below it leave, [leaves]."""
        return {root: self._reach(root, (), {}) for root in self.grid.children[None]}

    # ---------------------------------------------------------------- variance
    def decompose(self, seed: int = 0) -> Shares:
        """Shares of the variance of :meth:`predict` over the space (exact but for that variance and the total effects, which
        are measured on POINTS points, the latter by Jansen's estimator, 1999)."""
        axes, place = self.grid.axes, range(len(self.grid.axes))
        codes = self.grid.sample(POINTS, seed)
        said = self.predict(codes)
        mean, variance = float(self.mean), float(said.var())
        if variance <= 1e-12 * max(mean * mean, 1.0):
            flat = np.zeros(len(axes))
            return Shares(0.0, flat, flat, np.zeros(len(self.grid.pairs)), self.r2)
        reach = [self._reach(self._root(i), [i], {}) for i in place]
        roots = [self._root(i) for i in place]
        one = [(self._leaves[0] * self._shares({roots[i]})) @ reach[i] - mean for i in place]
        main = np.array([axes[i].weights @ one[i] ** 2 for i in place])
        pairs = []
        for i, j in self.grid.pairs:
            if roots[i] == roots[j]:
                two = self.marginal([axes[i].name, axes[j].name])
            else:
                two = (reach[i] * (self._leaves[0] * self._shares({roots[i], roots[j]}))[:, None]).T @ reach[j]
            alone = two - mean - one[i][:, None] - one[j][None, :]
            pairs.append(axes[i].weights @ alone**2 @ axes[j].weights)
        rng, few, total = np.random.default_rng([seed, 0x70A1]), POINTS // 4, []
        for i in place:
            moved = codes[:few].copy()
            moved[:, i] = rng.choice(len(axes[i]), few, p=axes[i].weights)
            total.append(0.5 * np.mean((said[:few] - self.predict(moved)) ** 2))
        return Shares(variance, main / variance, np.array(total) / variance, np.array(pairs) / variance, self.r2)

    @cached_property
    def mean(self) -> float:
        """E[prediction] over the space."""
        return float(self._leaves[0] @ self._shares(set()))

    def _activating(self, axes: Sequence[int]) -> dict[int, np.ndarray]:
        """Weights of the parents of some axes, restricted to the values for which these are active."""
        only: dict[int, np.ndarray] = {}
        for axis in axes:
            while (parent := self.grid.axes[axis].parent) is not None:
                at = self.grid.place[parent]
                weights = only.get(at, self.grid.axes[at].weights) * np.array(self.grid.axes[axis].activating)
                if not weights.any():
                    raise UsageError(f"{self.grid.axes[axis].name} is active nowhere in this combination")
                only[at] = weights / weights.sum()
                axis = at
        return only


@brief
@dataclass(frozen=True)
class Shares:
    """A variance and the shares of it that each hyperparameter alone (``main`` [axes]), with all its interactions (``total``
    [axes]) and each pair beyond its two alone (``pairs`` [Grid.pairs]) explain."""

    variance: float
    main: np.ndarray
    total: np.ndarray
    pairs: np.ndarray
    #: share of the scores' variance that the forest explains on rows it did not see
    r2: float
