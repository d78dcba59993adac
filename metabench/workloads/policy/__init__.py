"""Control learned by policy gradient: an actor and a critic on many copies of a simulated system side by side."""

from __future__ import annotations

from typing import Any

from metabench.space import Choice, Float, Ordinal, Space
from metabench.workloads.base import COMMON, Workload
from metabench.workloads.policy.shape import JUDGED, updates


class Policy(Workload):
    """Advantage actor-critic (Mnih et al., 2016, synchronous) with generalised advantage estimation (Schulman et al., 2016).

    Actor and critic are networks of two hidden layers each. ``batch_size`` systems advance side by side; every ``rollout``
    steps one update follows: the policy gradient, ``value_weight`` times half the critic's squared error, minus ``entropy``
    times the policy's entropy. An episode that the horizon cuts off is continued by the critic's value. An epoch is
    FRAMES steps. Actions of real numbers are normal with a mean from the actor and a learned standard deviation.

    Scores are mean returns of the greedy policy from fixed start states; losses are minus that, a step. Weights are uniform
    with standard deviation ``1 / sqrt(inputs)``, ``init_scale`` times that in the actor's last layer; biases zero.
    """

    name = "policy"
    space = COMMON | Space(
        learning_rate=Float(1e-4, 1.0, log=True, default=2e-3),
        batch_size=Ordinal(8, 16, 32, 64, default=16),
        clip=Choice("none", "norm", default="norm"),
        rollout=Ordinal(8, 16, 32, default=16),
        discount=Float(0.8, 0.999, reverse=True, default=0.99),
        trace=Float(0.0, 1.0, default=0.95),
        entropy=Float(1e-4, 0.1, log=True, default=0.01),
        value_weight=Float(0.1, 2.0, log=True, default=0.5),
        normalise=Choice("no", "yes", default="no"),
        width=Ordinal(16, 32, 64, default=64),
        activation=Choice("relu", "tanh", default="tanh"),
        init_scale=Float(0.01, 1.0, log=True, default=0.1),
    )
    kinds = ("control",)
    modalities = ("control",)
    view = "control"
    epochs = 26

    def build(self, arrays, config: dict[str, Any], seed: int):
        from metabench.workloads.policy.network import ActorCritic

        return ActorCritic(arrays, config, seed)

    def cohort_class(self) -> type:
        from metabench.workloads.policy.cohort import Group

        return Group

    def learners(self, arrays, configs, seeds, data, epochs: int):
        from metabench.workloads.policy.cohort import Policies

        return Policies(arrays, configs, seeds, data, epochs)

    def alone(self, arrays, config: dict[str, Any], seed: int, data, epochs: int):
        from metabench.workloads.policy.network import Alone

        return Alone(self, arrays, config, seed, data, epochs)

    def steps(self, arrays, config: dict[str, Any]) -> int:
        return updates(config)

    @staticmethod
    def _products(arrays, config: dict[str, Any]) -> int:
        """Multiplications of one forward pass of actor and critic."""
        from metabench.tasks.systems import SYSTEMS

        system, width = SYSTEMS[arrays.system], int(config["width"])
        return 2 * (system.observations * width + width * width) + width * (max(system.actions, 1) + 1)

    def params(self, arrays, config: dict[str, Any]) -> int:
        from metabench.tasks.systems import SYSTEMS

        system, width = SYSTEMS[arrays.system], int(config["width"])
        return self._products(arrays, config) + 4 * width + max(system.actions, 1) + 1 + (system.actions == 0)

    def flops(self, arrays, config: dict[str, Any], epochs: int) -> int:
        """A forward pass to act and to value what comes next, a forward and backward pass to learn."""
        frames = updates(config) * int(config["batch_size"]) * int(config["rollout"])
        return 10 * self._products(arrays, config) * frames * epochs

    def references(self, arrays) -> dict[str, float]:
        """The mean return of a control law written by hand (:meth:`metabench.tasks.systems.System.rule`)."""
        from metabench.tasks.systems import SYSTEMS, returns

        system = SYSTEMS[arrays.system]
        return {"control law": float(returns(system, arrays.x_test[:JUDGED], system.rule).mean())}
