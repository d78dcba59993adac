"""A policy over candidates, learned by searching the source tasks again: what to try, given what a surrogate says.

Maraval, Zimmer, Grosnit & Bou Ammar, "End-to-end meta-Bayesian optimisation with transformer neural processes", NeurIPS
2023 (NAP): proximal policy optimisation with the surrogate's likelihood as an auxiliary loss, because rewards alone are
sparse. Their network is one transformer; here it is a perceptron over candidates on top of a Gaussian process over tasks.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.parts.neural import device_of, gaussian_loss, perceptron
from metabench.metamodels.parts.searches import FEATURES, TRIED, Course, describe, every
from metabench.metamodels.task_gp import TaskGP
from metabench.search.base import History, MetaTrain

if TYPE_CHECKING:
    import torch

#: trials of a search that is learned from, and candidates that the policy chooses among: those of highest log EI
HORIZON, SHORTLIST = 25, 24
#: discount and the λ of generalised advantage estimation, PPO's clip, as NAP has them
DISCOUNT, LAMBDA, CLIP = 0.98, 0.98, 0.15
#: weights of the losses of value, prediction and (minus) entropy
VALUE, AUXILIARY, ENTROPY = 0.5, 0.1, 0.003
#: passes of PPO over the same searches, searched states of a step, steps of imitation, least standard deviation of a prediction
UPDATES, BATCH, IMITATION, FLOOR = 4, 256, 150, 0.05
#: seconds between two lines that say how far a training is
_EVERY = 30.0


@dataclass(frozen=True)
class Rollout:
    """What happened in searches: tensors [trials · searches, ...] of the shortlists' ``inputs``, the one ``chosen``, the log
    ``probability`` it had, the ``advantage``, the ``returns``, and the shortlists' normal scores (``truth``)."""

    inputs: torch.Tensor
    chosen: torch.Tensor
    probability: torch.Tensor
    advantage: torch.Tensor
    returns: torch.Tensor
    truth: torch.Tensor

    def some(self, which: torch.Tensor) -> Rollout:
        """Some of the states."""
        return Rollout(*(getattr(self, f.name)[which] for f in fields(self)))


class PolicyGradient(TaskGP):
    """A perceptron scores the 24 candidates of highest expected improvement by :data:`FEATURES` (and, with ``see_x``, by
    the configuration), a softmax of the scores is the policy, and the best one is proposed.

    It imitates expected improvement first; then ``iterations`` times all source tasks are searched, each predicted
    without its family, and ``algorithm`` (``ppo`` or ``reinforce``) raises what brings down the log regret. Of the
    policies on the way that is kept whose searches of the meta-validation tasks have the least regret. The surrogate is
    :class:`TaskGP`.
    """

    name = "policy_gradient"
    requires = ("torch",)
    version = "1"
    twin = "gp"
    arrays = (*TaskGP.arrays, "weights_", "column_centre_", "column_spread_")
    grid: ClassVar[dict[str, tuple]] = {
        "algorithm": ("ppo", "reinforce"),
        "see_x": (False, True),
        "iterations": (4, 12),
    }

    def __init__(
        self,
        algorithm: str = "ppo",
        see_x: bool = False,
        iterations: int = 12,
        width: int = 32,
        rate: float = 1e-3,
        random_state: int = 0,
        device: str = "cpu",
    ):
        if algorithm not in ("ppo", "reinforce"):
            raise UsageError(f"policy_gradient: unknown algorithm {algorithm!r}; known: ppo, reinforce")
        if min(width, iterations + 1) < 1 or rate <= 0:
            raise UsageError("policy_gradient: width and rate must be positive, iterations not negative")
        super().__init__()
        self.algorithm = algorithm
        self.see_x = see_x
        self.iterations = iterations
        self.width = width
        self.rate = rate
        # not ``seed``: that is the search's
        self.random_state = random_state
        self.device = device

    # ---------------------------------------------------------------- learning
    def fit(self, source: MetaTrain) -> PolicyGradient:
        import torch

        device = device_of(self.device, self.name)
        super().fit(source)
        course, held = Course.of(self, source), None
        if source.valid is not None and source.valid.seen.any():
            held = Course.of(self, source.valid, held=True)
        columns = np.concatenate(self.source_.encoded, axis=1)
        self.column_centre_ = columns.mean(0)
        self.column_spread_ = np.where(columns.std(0) > 1e-9, columns.std(0), 1.0)
        x = self._inputs(columns)
        rng = np.random.default_rng([self.random_state, 0x9009])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            network = policy(len(FEATURES) + self.see_x * columns.shape[1], self.width).to(device)
        self._learn(network, course, held, x, rng)
        self.weights_ = torch.nn.utils.parameters_to_vector(network.parameters()).detach().cpu().numpy()
        return self

    def _learn(self, network, course: Course, held: Course | None, x: np.ndarray, rng: np.random.Generator) -> None:
        import torch

        device = next(network.parameters()).device
        optimiser = torch.optim.Adam(network.parameters(), lr=self.rate)
        judges, best = held or course, np.inf
        kept: list[torch.Tensor] = []
        began = said = time.monotonic()

        def step(loss: torch.Tensor) -> None:
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()

        teacher = self.rollout(network, course, x, rng, imitate=True)
        for _ in range(IMITATION):
            some = torch.as_tensor(rng.permutation(len(teacher.chosen))[:BATCH], device=device)
            scores, _, mean, std = network(teacher.inputs[some])
            # the teacher draws from a softmax of log EI, so that there is something left to be explored
            imitation = torch.nn.functional.cross_entropy(scores, teacher.inputs[some, :, 0].softmax(-1))
            step(imitation + AUXILIARY * gaussian_loss(mean, std, teacher.truth[some]))
        for i in range(self.iterations + 1):
            found = self._judge(network, judges, x)
            if found < best:
                best, kept = found, [p.detach().clone() for p in network.parameters()]
            if i == self.iterations:
                break
            rollout = self.rollout(network, course, x, rng)
            for _ in range(UPDATES if self.algorithm == "ppo" else 1):
                for some in np.array_split(rng.permutation(len(rollout.chosen)), -(-len(rollout.chosen) // BATCH)):
                    step(self.loss(network, rollout.some(torch.as_tensor(some, device=device))))
            if (now := time.monotonic()) - said > _EVERY:
                said, left = now, (now - began) * (self.iterations / (i + 1) - 1)
                print(f"{self.name}: turn {i + 1} of {self.iterations}, about {left:.0f} s left", file=sys.stderr)
        with torch.no_grad():
            for p, value in zip(network.parameters(), kept, strict=True):
                p.copy_(value)

    def loss(self, network: torch.nn.Module, rollout: Rollout) -> torch.Tensor:
        """What a step minimises, a scalar: PPO's clipped objective (Schulman et al., arXiv:1707.06347, Eq. 7 and 9) or
        REINFORCE with a baseline (Williams, 1992), and the auxiliary losses."""
        import torch

        scores, value, mean, std = network(rollout.inputs)
        log = scores.log_softmax(-1)
        chosen = log.gather(-1, rollout.chosen[:, None])[:, 0]
        if self.algorithm == "ppo":
            ratio = (chosen - rollout.probability).exp()
            clipped = ratio.clamp(1.0 - CLIP, 1.0 + CLIP)
            gain = torch.minimum(ratio * rollout.advantage, clipped * rollout.advantage).mean()
        else:
            gain = (chosen * rollout.advantage).mean()
        entropy = -(log.exp() * log).sum(-1).mean()
        error = ((value - rollout.returns) ** 2).mean()
        return -gain + VALUE * error - ENTROPY * entropy + AUXILIARY * gaussian_loss(mean, std, rollout.truth)

    def rollout(
        self, network: torch.nn.Module, course: Course, x: np.ndarray, rng: np.random.Generator, imitate: bool = False
    ) -> Rollout:
        """Search all tasks with all seeds, by the policy's draws; or (``imitate``) the teacher's."""
        import torch

        tasks, seeds = every(course)
        search = course.search(tasks, seeds, HORIZON)
        steps: list[tuple] = []
        rewards, values = [], []
        device = next(network.parameters()).device
        for _ in range(search.horizon):
            features, mean = search.features()
            short, inputs = self._shortlist(features, mean, x)
            with torch.no_grad():
                scores, value, _, _ = network(torch.as_tensor(inputs, device=device))
                log = scores.log_softmax(-1).double().cpu().numpy()
            lines = np.arange(len(tasks))
            # a draw from a softmax is the highest score with Gumbel noise
            drawn = np.argmax((inputs[..., 0] if imitate else log) + rng.gumbel(size=log.shape), axis=1)
            truth = np.take_along_axis(course.targets[tasks] - mean, short, 1)
            steps.append((inputs, drawn, log[lines, drawn], truth))
            rewards.append(search.step(short[lines, drawn]))
            values.append(value.double().cpu().numpy())
        advantage = advantages(np.stack(rewards), np.stack(values))
        returns = advantage + np.stack(values)
        if self.algorithm == "ppo" or imitate:
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        inputs, chosen, probability, truth = (np.concatenate(s) for s in zip(*steps, strict=True))
        flat = (a.reshape(-1).astype(np.float32) for a in (probability, advantage, returns))
        tensors = [inputs, chosen, *flat, truth.astype(np.float32)]
        return Rollout(*(torch.as_tensor(t).to(device) for t in tensors))

    def _judge(self, network: torch.nn.Module, course: Course, x: np.ndarray) -> float:
        """Mean regret over all trials of searches that follow the policy."""
        import torch

        tasks, seeds = every(course)
        search, regrets = course.search(tasks, seeds, HORIZON), []
        device = next(network.parameters()).device
        for _ in range(search.horizon):
            short, inputs = self._shortlist(*search.features(), x)
            with torch.no_grad():
                scores = network(torch.as_tensor(inputs, device=device))[0].cpu().numpy()
            search.step(short[np.arange(len(tasks)), scores.argmax(1)])
            regrets.append(search.regret.mean())
        return float(np.mean(regrets))

    def _inputs(self, columns: np.ndarray) -> np.ndarray:
        """The source's columns standardised; what is not known of a pool (NaN) lies at the mean."""
        return np.nan_to_num((columns - self.column_centre_) / self.column_spread_)

    def _shortlist(self, features: np.ndarray, mean: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The candidates that the policy chooses among, int [searches, k], that of highest expected improvement first,
        and the network's inputs for them, float32 [searches, k, columns]."""
        k = min(SHORTLIST, features.shape[1])
        short = np.lexsort((-mean, -features[..., 0]), axis=-1)[:, :k]
        inputs = np.take_along_axis(features, short[..., None], 1)
        if self.see_x:
            inputs = np.concatenate([inputs, x[short]], axis=-1)
        return short, inputs.astype(np.float32)

    # ---------------------------------------------------------------- searching
    def begin(self) -> None:
        import torch

        super().begin()
        self._pool_inputs = self._inputs(self.source_.pool_columns(self.problem))
        with torch.random.fork_rng(devices=[]):
            self._network = policy(len(FEATURES) + self.see_x * self._pool_inputs.shape[1], self.width)
        torch.nn.utils.vector_to_parameters(torch.as_tensor(self.weights_), self._network.parameters())

    def ask(self, history: History) -> int:
        import torch

        mean, variance = self._posterior(history)
        tried = np.zeros(len(mean), dtype=bool)
        tried[history.candidates] = True
        best = mean[tried].max() if tried.any() else mean.max()
        horizon = min(HORIZON, self.problem.budget)
        features = describe(mean, np.sqrt(variance), tried, np.asarray(best), len(history), horizon)
        short, inputs = self._shortlist(features[None], mean[None], self._pool_inputs)
        with torch.no_grad():
            scores = self._network(torch.as_tensor(inputs))[0][0].numpy()
        return int(short[0, scores.argmax()])


def advantages(rewards: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Generalised advantage estimates, float64 [trials, searches], of searches that end after the last trial (Schulman et
    al., "High-dimensional continuous control using generalized advantage estimation", ICLR 2016, Eq. 16)."""
    out, after, gathered = np.empty_like(rewards), np.zeros(rewards.shape[1]), np.zeros(rewards.shape[1])
    for t in reversed(range(len(rewards))):
        gathered = rewards[t] + DISCOUNT * after - values[t] + DISCOUNT * LAMBDA * gathered
        out[t], after = gathered, values[t]
    return out


def policy(columns: int, width: int) -> torch.nn.Module:
    """The network: inputs [..., k, columns] → scores [..., k], value [...], mean and standard deviation [..., k] of what
    the normal score differs from the surrogate's mean. Tried candidates get no share of the policy."""
    import torch
    from torch import nn

    class Policy(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = perceptron([columns, width, width])
            self.head, self.value = nn.Linear(width, 3), nn.Linear(width, 1)
            # it begins as a softmax of expected improvement
            self.trust = nn.Parameter(torch.ones(()))
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            tried = x[..., 0] <= TRIED
            h = self.body(x.masked_fill(tried[..., None], 0.0)).relu()
            score, mean, raw = self.head(h).unbind(-1)
            score = (score + self.trust * x[..., 0]).masked_fill(tried, -1e9)
            value = self.value(h.mean(-2))[..., 0]
            return score, value, mean, FLOOR + nn.functional.softplus(raw)

    return Policy()
