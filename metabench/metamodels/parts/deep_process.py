"""Gaussian processes on what an encoder makes of x: marginal likelihood over tasks, then the posterior over a pool."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.parts.common import utilities
from metabench.metamodels.parts.episodes import Tasks
from metabench.metamodels.parts.gp import PoolGP
from metabench.metamodels.parts.neural import Neural, milestone
from metabench.search.base import History, MetaTrain

if TYPE_CHECKING:
    import torch

#: configurations of a task that a training step's likelihood is of
POINTS = 50
#: least noise variance, in normal scores
NOISE = 0.01


class DeepProcess(Neural):
    """f ~ N(m, k(z, z')), z the encoded x, y = a + b (f + ε), maximising expected improvement.

    A subclass gives a network whose ``encoder`` makes z of x, the :meth:`covariance` k, and the :meth:`noise`. On the
    target what is :meth:`adaptable` goes on learning for ``adapt`` steps of Adam at ``adapt_rate``, from the same weights
    whenever the trials have grown by a quarter.
    """

    def __init__(
        self,
        layers: int,
        width: int,
        epochs: int,
        rate: float,
        adapt: int,
        adapt_rate: float,
        random_state: int,
        device: str,
    ):
        super().__init__(epochs, rate, random_state, device)
        if layers < 0 or width < 1 or adapt < 0 or adapt_rate <= 0:
            raise UsageError(f"{self.name}: needs layers >= 0, width >= 1, adapt >= 0 and adapt_rate > 0")
        self.layers = layers
        self.width = width
        self.adapt = adapt
        self.adapt_rate = adapt_rate

    def covariance(self, network: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """k between encoded [..., n, columns] and [..., m, columns], [..., n, m]."""
        raise NotImplementedError

    def noise(self, network: Any) -> torch.Tensor:
        """Variance of ε, a scalar."""
        return network.log_noise.exp() + NOISE

    def adaptable(self, network: Any) -> Iterable[torch.nn.Parameter]:
        """What learns on the target."""
        return network.parameters()

    def fit(self, source: MetaTrain) -> DeepProcess:
        tasks, held = self.prepare(source)

        def loss(network: Any, tasks: Tasks, rng: np.random.Generator) -> torch.Tensor:
            episodes = tasks.draw(rng, self.tasks, min(POINTS, len(tasks.x)))
            return self.negative_likelihood(network, self.tensor(episodes.x), self.tensor(episodes.seen))

        self.learn(tasks, held, loss)
        return self

    def negative_likelihood(self, network: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """−log N(y; 0, K + noise) a point, mean over tasks; ``x`` [tasks, n, columns], ``y`` [tasks, n]
        (Rasmussen & Williams, 2006, Eq. 2.30)."""
        import torch

        z = network.encoder(x)
        ridge = (self.noise(network) + 1e-6) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        factor = torch.linalg.cholesky(self.covariance(network, z, z) + ridge)
        white = torch.linalg.solve_triangular(factor, y[..., None], upper=False)[..., 0]
        determinant = torch.log(torch.diagonal(factor, dim1=-2, dim2=-1)).sum(-1)
        return ((0.5 * (white * white).sum(-1) + determinant) / x.shape[1]).mean() + 0.5 * np.log(2.0 * np.pi)

    # ---------------------------------------------------------------- searching
    def begin(self) -> None:
        super().begin()
        self._network = self.fitted_network().double()
        self._adapted_to: tuple[int, ...] = ()
        self._gp = self._process([], np.zeros(0))

    def posterior(self, history: History) -> tuple[np.ndarray, np.ndarray]:
        tried, y = utilities(self.problem, history)
        first = tuple(tried[: milestone(len(tried))].tolist()) if self.adapt else ()
        if self._adapted_to != first:
            positions, values = self.seen(history)
            self._gp = self._process(positions[: len(first)], values[: len(first)])
            self._adapted_to = first
        self._gp.observe(tried.tolist())
        mean, variance, _, _ = self._gp.posterior(self._mean, y)
        return mean, variance

    def _process(self, tried, values: np.ndarray) -> PoolGP:
        """The process over the pool, adapted to ``values`` [tried]."""
        import torch

        network: Any = self._network
        x = torch.as_tensor(self._x, dtype=torch.float64)
        torch.nn.utils.vector_to_parameters(torch.as_tensor(self.weights_, dtype=torch.float64), network.parameters())
        if len(tried) and (parameters := list(self.adaptable(network))):
            # the parameters become views of one vector: Adam's steps cost the same whatever the layers are
            every = torch.nn.utils.parameters_to_vector(parameters).detach()
            torch.nn.utils.vector_to_parameters(every, parameters)
            optimiser = torch.optim.Adam([every], lr=self.adapt_rate)
            known, y = x[tried][None], torch.as_tensor(values)[None]
            for _ in range(self.adapt):
                slopes = torch.autograd.grad(self.negative_likelihood(network, known, y), parameters)
                every.grad = torch.cat([slope.reshape(-1) for slope in slopes])
                optimiser.step()
        with torch.no_grad():
            z, noise = network.encoder(x), self.noise(network).item()
            # every candidate beside itself
            diagonal = self.covariance(network, z[:, None], z[:, None])[:, 0, 0].numpy()
            rows = dict(zip(tried, self.covariance(network, z[tried], z).numpy(), strict=True))

        @torch.no_grad()
        def row(i: int) -> np.ndarray:
            return rows[i] if i in rows else self.covariance(network, z[i : i + 1], z)[0].numpy()

        return PoolGP(row, diagonal, noise)
