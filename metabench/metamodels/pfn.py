"""Prior-data fitted network: a transformer that is trained on tasks of a prior until it is the posterior.

Müller, Feurer, Hollmann & Hutter, "PFNs4BO: in-context learning for Bayesian optimization", ICML 2023: bars for a density
(:mod:`metabench.metamodels.parts.bars`) and their expected improvement; tasks of the prior are draws of Gaussian processes
whose hyperparameters are drawn, too, some of them having no effect. Here the source tasks are a prior as well.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.parts.bars import Bars
from metabench.metamodels.parts.episodes import Episodes, Tasks
from metabench.metamodels.parts.in_context import CONTEXT, HIDDEN, InContext
from metabench.metamodels.parts.matern import distances, matern
from metabench.search.base import History, MetaTrain

if TYPE_CHECKING:
    import torch

PRIORS = ("synthetic", "real", "mixed")
#: chance that a hyperparameter has no effect on a synthetic task
_IRRELEVANT = 0.3
#: least and most share of noise in the variance of a synthetic task
_NOISE = (0.02, 0.3)


class PFN(InContext):
    """A transformer with a density of ``bars`` over differences from the source tasks' mean.

    ``prior`` says what it is trained on: ``synthetic`` draws of Gaussian processes, over the source's configurations but
    with nothing else of the source (its mean is 0); ``real`` source tasks, half of them mixtures of two; or half a step's
    tasks of either kind (``mixed``; the synthetic ones are then around the source's mean).
    """

    name = "pfn"
    requires = ("torch",)
    version = "1"
    arrays = (*InContext.arrays, "borders_")
    grid: ClassVar[dict[str, tuple]] = {"prior": PRIORS}

    def __init__(
        self,
        prior: str = "mixed",
        bars: int = 100,
        layers: int = 4,
        width: int = 64,
        heads: int = 4,
        epochs: int = 300,
        rate: float = 1e-3,
        random_state: int = 0,
        device: str = "cpu",
    ):
        super().__init__(epochs, rate, random_state, device)
        if prior not in PRIORS:
            raise UsageError(f"pfn: unknown prior {prior!r}; known: {', '.join(PRIORS)}")
        if bars < 4 or min(layers, heads) < 1 or width < heads or width % heads:
            raise UsageError("pfn: needs bars >= 4, layers >= 1 and a width that is a multiple of heads")
        self.prior = prior
        self.bars = bars
        self.layers = layers
        self.width = width
        self.heads = heads

    def network(self, columns: int) -> torch.nn.Module:
        from metabench.metamodels.parts.attention import Transformer

        return Transformer(columns, self.width, self.layers, self.heads, outputs=self.bars)

    # ---------------------------------------------------------------- learning
    def prepare(self, source: MetaTrain) -> tuple[Tasks, Tasks | None]:
        tasks, held = super().prepare(source)
        if self.prior == "synthetic":
            self.mean_, self.spread_ = np.zeros_like(self.mean_), 1.0
            tasks, held = replace(tasks, means=np.zeros_like(tasks.means), spread=1.0), None
        rng = np.random.default_rng([self.random_state, 0x426172])
        shown, hidden = min(CONTEXT, len(tasks.x) - 1), min(HIDDEN, len(tasks.x))
        truth = [self.episodes(tasks, rng, shown, hidden).truth.ravel() for _ in range(16)]
        self.borders_ = Bars.of(np.concatenate(truth), self.bars).borders
        return tasks, held

    def episodes(self, tasks: Tasks, rng: np.random.Generator, shown: int, hidden: int) -> Episodes:
        real = {"synthetic": 0, "real": self.tasks, "mixed": self.tasks // 2}[self.prior]
        parts = []
        if real:
            parts.append((mixtures(tasks, rng) if rng.random() < 0.5 else tasks).draw(rng, real, shown, hidden))
        if real < self.tasks:
            parts.append(self.synthetic(tasks, rng, self.tasks - real, shown, hidden))
        return parts[0] if len(parts) == 1 else Episodes.joined(parts)

    def synthetic(self, tasks: Tasks, rng: np.random.Generator, n: int, shown: int, hidden: int) -> Episodes:
        """Draws of Gaussian processes on some of the configurations, around the means of ``tasks``."""
        rows = rng.permutation(len(tasks.x))[: shown + hidden]
        widths = [b.shape[1] for b in self.source_.encoded]
        means = tasks.means[rng.integers(len(tasks.means), size=n)][:, rows]
        drawn = np.stack([gp_draw(rng, tasks.x[rows].astype(float), widths) for _ in range(n)])
        parts = Tasks(tasks.x[rows], means + tasks.spread * drawn, means, tasks.spread)
        return parts.draw(rng, n, shown, hidden)

    def loss(
        self,
        network: torch.nn.Module,
        rng: np.random.Generator,
        x: torch.Tensor,
        y: torch.Tensor,
        new: torch.Tensor,
        truth: torch.Tensor,
    ) -> torch.Tensor:
        return -Bars(self.borders_).log_density(network(x, y, new), truth).mean()

    # ---------------------------------------------------------------- searching
    def mass(self, history: History) -> np.ndarray:
        """What is predicted over the pool, as the mass of bars [pool, bars] of differences from the source's mean."""
        import torch

        with torch.no_grad():
            return torch.softmax(self._network(*self.context(history))[0].double(), dim=-1).numpy()

    def posterior(self, history: History) -> tuple[np.ndarray, np.ndarray]:
        mean, variance = Bars(self.borders_).moments(self.mass(history))
        return self._mean + mean, variance

    def ask(self, history: History) -> int:
        mass, bars = self.mass(history), Bars(self.borders_)
        mean, untried = self._mean + bars.moments(mass)[0], history.untried(len(mass))
        if len(history) == 0:
            return int(untried[np.argmax(mean[untried])])
        best = mean[history.candidates].max()
        return int(untried[np.argmax(bars.improvement(mass[untried], best - self._mean[untried]))])


def gp_draw(rng: np.random.Generator, x: np.ndarray, widths: list[int]) -> np.ndarray:
    """A draw of a Matérn-5/2 process and noise at ``x`` [n, columns], of unit variance, float64 [n].

    Columns come in blocks of ``widths``, one for each hyperparameter: log length scales are N(½ log G, .75²), G the number
    of blocks, and some blocks have no effect. The share of noise is log-uniform.
    """
    inverse = np.exp(-0.5 * np.log(len(widths)) - 0.75 * rng.standard_normal(len(widths)))
    acting = rng.random(len(widths)) > _IRRELEVANT
    scaled = x * np.repeat(inverse * acting / np.sqrt(widths), widths)
    share = np.exp(rng.uniform(*np.log(_NOISE)))
    kernel = (1.0 - share) * matern(distances(scaled, scaled)) + (share + 1e-6) * np.eye(len(x))
    return np.linalg.cholesky(kernel) @ rng.standard_normal(len(x))


def mixtures(tasks: Tasks, rng: np.random.Generator) -> Tasks:
    """Each task mixed with another by a random share, where both ran a configuration; as spread as the task alone."""
    other = rng.permutation(len(tasks.targets))
    share = rng.uniform(0.5, 1.0, (len(other), 1))
    residual = tasks.targets - tasks.means
    mixed = share * residual + (1.0 - share) * residual[other]
    mixed = np.where(np.isnan(mixed), residual, mixed) / np.sqrt(share**2 + (1.0 - share) ** 2)
    return replace(tasks, targets=tasks.means + mixed)
