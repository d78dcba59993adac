"""Networks as meta-models: what they see of a table, training over tasks, their weights, searching with them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.parts.common import MetaModel, check_source, utilities
from metabench.metamodels.parts.episodes import Tasks, on_normal_scale
from metabench.metamodels.parts.source_space import SourceSpace, blocks, shared_hyperparameters
from metabench.search.base import History, MetaTrain, Prediction, Problem, expected_improvement

if TYPE_CHECKING:
    import torch

#: times in a training that the meta-validation tasks are looked at, and episodes that are drawn from them
_LOOKS, _HELD = 20, 32
#: seconds between two lines that say how far a training is
_EVERY = 30.0
#: trials that a network is shown at most; it learned from far fewer
MOST_SHOWN = 128


# ---------------------------------------------------------------------------------------------- networks
def perceptron(widths: list[int]) -> torch.nn.Sequential:
    """Linear layers of these widths with rectifiers in between; the identity for one width."""
    from torch import nn

    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def gaussian_loss(mean: torch.Tensor, std: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean of −log N(y; mean, std²), a scalar."""
    import torch

    return (0.5 * ((y - mean) / std) ** 2 + torch.log(std)).mean() + 0.5 * np.log(2 * np.pi)


def train(
    network: Any,
    loss: Callable[[], torch.Tensor],
    steps: int,
    rate: float,
    name: str,
    look: Callable[[], float] | None = None,
) -> None:
    """Minimise ``loss`` in place: Adam, a short warm-up and a cosine to 0, gradients clipped to norm 1.

    With ``look`` the weights that it was lowest at are kept, of some twenty looks. A long training says on stderr how
    far it is.
    """
    import torch

    parameters = list(network.parameters())
    optimiser = torch.optim.Adam(parameters, lr=rate)
    warm = max(1, min(100, steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min(1.0, (s + 1) / warm) * 0.5 * (1.0 + np.cos(np.pi * s / steps))
    )
    best, kept = np.inf, None
    began = said = time.monotonic()
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if look is not None and (step % max(1, steps // _LOOKS) == 0 or step == steps):
            found = look()
            if found < best:
                best, kept = found, [p.detach().clone() for p in parameters]
        if (now := time.monotonic()) - said > _EVERY:
            said, left = now, (now - began) * (steps / step - 1)
            print(
                f"{name}: step {step:,} of {steps:,}, loss {value.item():.3f}, about {left:.0f} s left", file=sys.stderr
            )
    if kept is not None:
        with torch.no_grad():
            for p, value in zip(parameters, kept, strict=True):
                p.copy_(value)


# ---------------------------------------------------------------------------------------------- the base
#: what is minimised: of a network, tasks, and the generator that draws episodes of them, a scalar
Loss = Callable[["torch.nn.Module", Tasks, np.random.Generator], "torch.Tensor"]


class Neural(MetaModel):
    """Base of the meta-models that are networks.

    A network sees a configuration in the source's coordinates (with what is active), standardised, and learns what a task
    differs from the mean of the source tasks, Σz/(S + 1). A subclass gives the :meth:`network`, trains it in :meth:`fit`
    (:meth:`prepare`, :meth:`learn`) and says the :meth:`posterior` over a pool; asking maximises expected improvement.

    ``epochs`` counts passes over the source tasks, ``tasks`` of which make a step; ``device`` is where the network is
    trained. Meta-validation tasks choose among the weights that training goes through.
    """

    twin = "gp"
    arrays: tuple[str, ...] = ("weights_", "mean_", "centre_", "scale_")
    facts: tuple[str, ...] = ("spread_",)
    #: tasks that make a training step
    tasks = 8

    def __init__(self, epochs: int, rate: float, random_state: int, device: str):
        if epochs < 1 or rate <= 0:
            raise UsageError(f"{self.name}: epochs and rate must be positive")
        self.epochs = epochs
        self.rate = rate
        # not ``seed``: that is the search's
        self.random_state = random_state
        self.device = device

    def network(self, columns: int) -> torch.nn.Module:
        """The network, untrained, for inputs of so many columns."""
        raise NotImplementedError

    def posterior(self, history: History) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the normal score on the target, float64 [pool]."""
        raise NotImplementedError

    # ---------------------------------------------------------------- learning
    def prepare(self, source: MetaTrain) -> tuple[Tasks, Tasks | None]:
        """Keep what inputs and means are made of; the source tasks, and the meta-validation tasks if there are any."""
        check_source(source, self.name)
        ran = np.flatnonzero(source.seen.any(axis=1))
        if len(ran) == 0:
            raise UsageError(f"{self.name}: no configuration of the source was run")
        z = source.normal_scores[ran]
        self.source_ = SourceSpace.fit(source, z)
        columns = np.concatenate(self.source_.encoded, axis=1)
        self.centre_ = columns.mean(0)
        self.scale_ = np.where(columns.std(0) > 1e-9, columns.std(0), 1.0)
        complete = self.source_.complete(z)
        self.mean_ = complete.sum(0) / (len(z) + 1)
        others = (complete.sum(0) - complete) / len(z)
        self.spread_ = float(np.sqrt(max(np.nanmean((z - others) ** 2), 0.05)))
        x = self.inputs(columns)
        held = None
        if source.valid is not None and (some := source.valid.seen.any(axis=1)).any():
            targets = source.valid.normal_scores[some]
            held = Tasks(x, targets, np.tile(self.mean_, (len(targets), 1)), self.spread_)
        return Tasks(x, z, others, self.spread_), held

    def inputs(self, columns: np.ndarray) -> np.ndarray:
        """Columns in the source's coordinates → float32 inputs with mean 0 and variance 1 over the source's
        configurations; what is not known of a pool (NaN) lies at the mean."""
        return np.nan_to_num((columns - self.centre_) / self.scale_).astype(np.float32)

    def learn(self, tasks: Tasks, held: Tasks | None, loss: Loss, judge: Loss | None = None) -> None:
        """Train the network by ``loss`` of random episodes and keep its weights; ``judge`` (the loss, if not given) says
        how good they are on the tasks that are ``held`` out."""
        import torch

        device = device_of(self.device, self.name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            network = self.network(tasks.x.shape[1]).to(device)
        rng = np.random.default_rng([self.random_state, 0x4E4E])

        def look() -> float:
            assert held is not None
            streams = (np.random.default_rng([i, 0x4E4F]) for i in range(_HELD // self.tasks))
            return float(np.mean([(judge or loss)(network, held, rng).item() for rng in streams]))

        steps = self.epochs * -(-len(tasks.targets) // self.tasks)
        train(
            network, lambda: loss(network, tasks, rng), steps, self.rate, self.name, look if held is not None else None
        )
        self.weights_ = torch.nn.utils.parameters_to_vector(network.parameters()).detach().cpu().numpy()

    def tensor(self, values: np.ndarray) -> torch.Tensor:
        """A tensor on the device that the network is trained on."""
        import torch

        return torch.as_tensor(values).to(self.device)

    # ---------------------------------------------------------------- searching
    def begin(self) -> None:
        super().begin()
        self._alignment = self.source_.align(self.problem)
        self._mean = self._alignment.carry(self.mean_)
        self._x = self.inputs(self._pool_columns(self.problem))

    def fitted_network(self) -> torch.nn.Module:
        """A network of its own with the trained weights, on the CPU."""
        import torch

        with torch.random.fork_rng(devices=[]):
            network = self.network(len(self.centre_))
        torch.nn.utils.vector_to_parameters(torch.as_tensor(self.weights_), network.parameters())
        return network

    def _pool_columns(self, problem: Problem) -> np.ndarray:
        """The pool in the source's coordinates, float64 [candidates, columns]; NaN where the pool lacks a hyperparameter,
        but one that only some of the source's workloads have is inactive then."""
        shared = set(shared_hyperparameters(self.source_.space, problem))
        names = list(self.source_.space)
        found = blocks(self.source_.space, problem.candidates[[n for n in names if n in shared]], names)
        unknown = [n not in shared and n not in self.source_.partial for n in names]
        return np.concatenate([np.where(u, np.nan, b) for u, b in zip(unknown, found, strict=True)], axis=1)

    def seen(self, history: History) -> tuple[np.ndarray, np.ndarray]:
        """Tried positions int [n], and what the trials differ from the source's mean in normal scores, float64 [n]."""
        tried, y = utilities(self.problem, history)
        mean = self._mean[tried]
        return tried, on_normal_scale(y, mean, self.spread_) - mean

    def shown(self, history: History) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`seen`, of more than MOST_SHOWN trials the better half of MOST_SHOWN and the latest of the others, so that
        a suggestion costs no more in a long search."""
        tried, values = self.seen(history)
        if len(tried) <= MOST_SHOWN:
            return tried, values
        _, y = utilities(self.problem, history)
        half = MOST_SHOWN // 2
        best = np.argsort(-y, kind="stable")[:half]
        others = np.setdiff1d(np.arange(len(tried)), best)[-half:]
        kept = np.sort(np.concatenate([best, others]))
        return tried[kept], values[kept]

    def predict(self, history: History, candidates: np.ndarray) -> Prediction:
        """Mean and standard deviation of the normal score on the target, float64 [candidates]."""
        mean, variance = self.posterior(history)
        return Prediction(mean[candidates], np.sqrt(variance[candidates]))

    def ask(self, history: History) -> int:
        mean, variance = self.posterior(history)
        untried = history.untried(len(mean))
        if len(history) == 0:
            return int(untried[np.argmax(mean[untried])])
        prediction = Prediction(mean[untried], np.sqrt(variance[untried]))
        return int(untried[np.argmax(expected_improvement(prediction, mean[history.candidates].max()))])


def device_of(name: str, who: str) -> torch.device:
    """The device of that name. Raises UsageError when there is none here."""
    import torch

    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError):
        raise UsageError(f"{who}: device {name!r} is not available here; cpu always is") from None


def milestone(trials: int) -> int:
    """The last of 2, 3, 4, 5, 6, 7, 8, 10, 12, 15 … (a quarter more each time) that is no more than ``trials``; 0 before.

    What is costly is adapted to the trials up to there: the cost of a search stays in proportion to its last ones.
    """
    last, n = 0, 2
    while n <= trials:
        last, n = n, max(n + 1, n * 5 // 4)
    return last
