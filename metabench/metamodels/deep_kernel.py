"""Deep kernel learned over tasks: an encoder under a Matérn kernel, adapted to the target in a few steps.

Wistuba & Grabocka, "Few-shot Bayesian optimization with deep kernel surrogates", ICLR 2021 (FSBO): encoder and kernel
maximise the marginal likelihood of the source tasks under random label ranges, Alg. 1, then that of the target's trials.
Its prior mean is constant; here it is the mean of the source tasks, and increasing warps join the random ranges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels._gp import PoolGP
from metabench.metamodels._matern import distances, matern
from metabench.metamodels._neural import Neural, Tasks, milestone, perceptron
from metabench.metamodels.common import utilities
from metabench.search.base import History, MetaTrain

if TYPE_CHECKING:
    import torch

#: configurations of a task that a training step's likelihood is of
POINTS = 50
#: least noise variance, in normal scores
NOISE = 0.01


class DeepKernel(Neural):
    """f ~ N(m, v Matérn(φ(x)/ℓ)), y = a + b (f + ε), maximising expected improvement.

    φ is a perceptron of ``layers`` layers, ``width`` wide (none: the identity). On the target it goes on learning for
    ``adapt`` steps of Adam at ``adapt_rate``, from the same weights whenever the trials have grown by a quarter.
    """

    name = "deep_kernel"
    grid: ClassVar[dict[str, tuple]] = {"layers": (2, 4), "adapt": (0, 10), "rate": (1e-3, 3e-3)}

    def __init__(
        self, layers: int = 4, width: int = 32, epochs: int = 300, rate: float = 1e-3, adapt: int = 10,
        adapt_rate: float = 3e-4, random_state: int = 0, device: str = "cpu",
    ):  # fmt: skip
        super().__init__(epochs, rate, random_state, device)
        if layers < 0 or width < 1 or adapt < 0 or adapt_rate <= 0:
            raise UsageError("deep_kernel: needs layers >= 0, width >= 1, adapt >= 0 and adapt_rate > 0")
        self.layers = layers
        self.width = width
        self.adapt = adapt
        self.adapt_rate = adapt_rate

    def network(self, columns: int) -> torch.nn.Module:
        import torch

        network = torch.nn.Module()
        network.encoder = perceptron([columns] + [self.width] * self.layers)
        # a length scale at which the standardised inputs of two random configurations are neither one nor strangers
        size = np.log(np.sqrt(columns)) if self.layers == 0 else 0.0
        network.log_scales = torch.nn.Parameter(torch.tensor([size, np.log(0.5), np.log(0.2)], dtype=torch.float32))
        return network

    def fit(self, source: MetaTrain) -> DeepKernel:
        tasks, held = self.prepare(source)

        def loss(network: torch.nn.Module, tasks: Tasks, rng: np.random.Generator) -> torch.Tensor:
            episodes = tasks.draw(rng, self.tasks, min(POINTS, len(tasks.x)))
            return negative_likelihood(network, self.tensor(episodes.x), self.tensor(episodes.seen))

        self.learn(tasks, held, loss)
        return self

    # ---------------------------------------------------------------- searching
    def begin(self) -> None:
        super().begin()
        self._adapted_to: tuple[int, ...] | None = None

    def posterior(self, history: History) -> tuple[np.ndarray, np.ndarray]:
        tried, y = utilities(self.problem, history)
        if self._adapted_to is None:
            self._adapted_to, self._gp = (), self._process([], np.zeros(0))
        if self.adapt and self._adapted_to != (first := tuple(tried[: milestone(len(tried))].tolist())):
            positions, values = self.seen(history)
            self._gp = self._process(positions[: len(first)], values[: len(first)])
            self._adapted_to = first
        self._gp.observe(tried.tolist())
        mean, variance, _, _ = self._gp.posterior(self._mean, y)
        return mean, variance

    def _process(self, tried, values: np.ndarray) -> PoolGP:
        """The process over the pool, adapted to ``values`` [tried]."""
        import torch

        network = self.fitted_network().double()
        x = torch.as_tensor(self._x, dtype=torch.float64)
        if len(tried):
            optimiser = torch.optim.Adam(network.parameters(), lr=self.adapt_rate)
            known, y = x[tried][None], torch.as_tensor(values)[None]
            for _ in range(self.adapt):
                optimiser.zero_grad()
                negative_likelihood(network, known, y).backward()
                optimiser.step()
        with torch.no_grad():
            length, variance, noise = scales(network)
            z = (network.encoder(x) / length).numpy()
            variance, noise = variance.item(), noise.item()
        return PoolGP(
            lambda i: variance * matern(distances(z[i : i + 1], z)[0]), np.full(len(z), variance), noise
        )  # fmt: skip


def scales(network: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Length scale, variance and noise variance, scalars."""
    length, variance, noise = network.log_scales.exp()
    return length, variance, noise + NOISE


def negative_likelihood(network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """−log N(y; 0, v Matérn + noise) a point, mean over tasks; ``x`` [tasks, n, columns], ``y`` [tasks, n]
    (Rasmussen & Williams, 2006, Eq. 2.30)."""
    import torch

    length, variance, noise = scales(network)
    z = network.encoder(x) / length
    square = (z * z).sum(-1)
    squared = (square[:, :, None] + square[:, None, :] - 2.0 * z @ z.mT).clamp_min(0.0)
    # the root has no slope at 0; the kernel's is 0 there
    s = torch.sqrt(5.0 * squared + 1e-12)
    kernel = variance * (1.0 + s + s * s / 3.0) * torch.exp(-s)
    factor = torch.linalg.cholesky(kernel + (noise + 1e-6) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device))
    white = torch.linalg.solve_triangular(factor, y[..., None], upper=False)[..., 0]
    determinant = torch.log(torch.diagonal(factor, dim1=-2, dim2=-1)).sum(-1)
    return ((0.5 * (white * white).sum(-1) + determinant) / x.shape[1]).mean() + 0.5 * np.log(2.0 * np.pi)
