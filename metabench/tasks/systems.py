"""Simulated systems to control, many at a time: the classic control tasks, with Gymnasium's constants and rewards.

All functions take and give tensors with any leading axes, states [..., S], actions [...]; nothing is random, so that
whoever simulates draws what is. Angles are radians, times seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch


@dataclass(frozen=True)
class System:
    """``actions`` is their number; 0: one real number in [-1, 1], of the greatest ``torque``."""

    name: str
    #: whose physics it shares
    family: str
    states: ClassVar[int]
    observations: ClassVar[int]
    actions: ClassVar[int]
    #: steps after which an episode is cut off
    horizon: int = 200
    #: what rewards are multiplied by where a policy learns (never where it is judged), so that they are some ones
    scale: float = 1.0

    def starts(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """float32 [n, S]: where episodes begin."""
        raise NotImplementedError

    def observe(self, state: torch.Tensor) -> torch.Tensor:
        """[..., S] → [..., O]: what a policy sees."""
        raise NotImplementedError

    def step(self, state: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The next states, rewards [...] and whether the episode is over (bool [...])."""
        raise NotImplementedError

    def rule(self, state: torch.Tensor) -> torch.Tensor:
        """Actions [...] of a control law that an engineer would write down: what a learned policy is to be near."""
        raise NotImplementedError


@dataclass(frozen=True)
class CartPole(System):
    """Balance a pole on a cart by pushing it left (0) or right (1); a point for every step (Barto, Sutton & Anderson, 1983,
    with Florian's equations of motion, 2007). State and observation: position, velocity, angle, angular velocity."""

    states, observations, actions = 4, 4, 2
    half_length: float = 0.5
    pole: float = 0.1
    cart: float = 1.0

    def starts(self, n, rng):
        return rng.uniform(-0.05, 0.05, size=(n, 4)).astype(np.float32)

    def observe(self, state):
        return state

    def step(self, state, action):
        x, v, angle, spin = state.unbind(-1)
        force = 20.0 * action.to(state.dtype) - 10.0
        total, moment = self.cart + self.pole, self.pole * self.half_length
        sin, cos = angle.sin(), angle.cos()
        push = (force + moment * spin * spin * sin) / total
        turn = (9.8 * sin - cos * push) / (self.half_length * (4.0 / 3.0 - self.pole * cos * cos / total))
        pull = push - moment * turn * cos / total
        after = torch.stack([x + 0.02 * v, v + 0.02 * pull, angle + 0.02 * spin, spin + 0.02 * turn], -1)
        over = (after[..., 0].abs() > 2.4) | (after[..., 2].abs() > 24.0 * math.pi / 360.0)
        return after, torch.ones_like(x), over

    def rule(self, state):
        """Push to the side that the pole falls to, a little towards the middle of the track."""
        return (state @ torch.tensor([0.02, 0.1, 1.0, 0.6], dtype=state.dtype) > 0).long()


@dataclass(frozen=True)
class Acrobot(System):
    """Swing the tip of two links above a line by a torque of -1, 0 or 1 (actions 0, 1, 2) at their joint; minus a point for
    every step until then (Sutton, 1996; fourth-order Runge-Kutta over .2 s). State: two angles, two angular velocities;
    observation: cosines and sines of the angles, and the velocities."""

    states, observations, actions = 4, 6, 3
    second: float = 1.0

    def starts(self, n, rng):
        return rng.uniform(-0.1, 0.1, size=(n, 4)).astype(np.float32)

    def observe(self, state):
        a, b, u, v = state.unbind(-1)
        return torch.stack([a.cos(), a.sin(), b.cos(), b.sin(), u, v], -1)

    def _slope(self, s: torch.Tensor, torque: torch.Tensor) -> torch.Tensor:
        """Links of length 1, mass 1 and ``second``, their centres in the middle, moments of inertia 1."""
        a, b, u, v = s.unbind(-1)
        m, sin, cos = self.second, b.sin(), b.cos()
        d1 = 0.25 + m * (1.25 + cos) + 2.0
        d2 = m * (0.25 + 0.5 * cos) + 1.0
        phi2 = m * 0.5 * 9.8 * (a + b - math.pi / 2).cos()
        phi1 = -0.5 * m * sin * v * (v + 2.0 * u) + (0.5 + m) * 9.8 * (a - math.pi / 2).cos() + phi2
        second = (torque + d2 / d1 * phi1 - 0.5 * m * u * u * sin - phi2) / (0.25 * m + 1.0 - d2 * d2 / d1)
        first = -(d2 * second + phi1) / d1
        return torch.stack([u, v, first, second], -1)

    def step(self, state, action):
        torque, dt = action.to(state.dtype) - 1.0, 0.2
        k1 = self._slope(state, torque)
        k2 = self._slope(state + dt / 2 * k1, torque)
        k3 = self._slope(state + dt / 2 * k2, torque)
        k4 = self._slope(state + dt * k3, torque)
        a, b, u, v = (state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)).unbind(-1)
        u, v = u.clamp(-4 * math.pi, 4 * math.pi), v.clamp(-9 * math.pi, 9 * math.pi)
        after = torch.stack([wrapped(a), wrapped(b), u, v], -1)
        over = -after[..., 0].cos() - (after[..., 0] + after[..., 1]).cos() > 1.0
        return after, -1.0 + over.to(state.dtype), over

    def rule(self, state):
        """Pump: the torque goes with the first link's swing against the second's bend."""
        return 1 + torch.sign(state[..., 3] - 0.3 * state[..., 2]).long()


@dataclass(frozen=True)
class Pendulum(System):
    """Swing a pendulum up and hold it there by a limited torque; minus the squared angle, a tenth of the squared angular
    velocity and a thousandth of the squared torque, every step. State: angle (0 is up), angular velocity; observation:
    cosine and sine of the angle, and the velocity."""

    states, observations, actions = 2, 3, 0
    mass: float = 1.0
    torque: float = 2.0

    def starts(self, n, rng):
        return (rng.uniform(-1, 1, size=(n, 2)) * [math.pi, 1.0]).astype(np.float32)

    def observe(self, state):
        angle, spin = state.unbind(-1)
        return torch.stack([angle.cos(), angle.sin(), spin], -1)

    def step(self, state, action):
        angle, spin = state.unbind(-1)
        u = self.torque * action.clamp(-1.0, 1.0)
        cost = wrapped(angle).square() + 0.1 * spin.square() + 0.001 * u.square()
        spin = (spin + (15.0 * angle.sin() + 3.0 / self.mass * u) * 0.05).clamp(-8.0, 8.0)
        return torch.stack([angle + 0.05 * spin, spin], -1), -cost, torch.zeros_like(cost, dtype=torch.bool)

    def rule(self, state):
        """Pump energy until there is enough to stand (Åström & Furuta, 2000), then hold by angle and velocity."""
        angle, spin = wrapped(state[..., 0]), state[..., 1]
        energy = spin.square() / 6.0 + 5.0 * (angle.cos() - 1.0)  # of a unit mass; 0 where it stands
        swing, hold = -torch.sign(spin * energy), -(10.0 * angle + 2.0 * spin) / self.torque
        return torch.where(
            angle.abs() < 0.5, hold, torch.where(energy.abs() < 0.05, torch.zeros_like(swing), swing)
        ).clamp(-1, 1)


def wrapped(angle: torch.Tensor) -> torch.Tensor:
    """The same angle in [-π, π)."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


_BASE = (CartPole("cartpole", "cartpole"), Acrobot("acrobot", "acrobot"), Pendulum("pendulum", "pendulum", scale=0.1))
SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        *_BASE,
        replace(_BASE[0], name="cartpole_long", half_length=1.5, pole=0.3),
        replace(_BASE[1], name="acrobot_light", second=0.6),
        replace(_BASE[2], name="pendulum_weak", torque=1.2),
    )
}


def returns(system: System, starts: np.ndarray, act: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """float32 [n]: the sum of an episode's rewards from each start state, of actions ``act(states)``."""
    state, going = torch.as_tensor(starts, dtype=torch.float64), torch.ones(len(starts), dtype=torch.float64)
    total = torch.zeros_like(going)
    for _ in range(system.horizon):
        state, reward, over = system.step(state, act(state))
        total += going * reward
        going = going * (~over).to(going.dtype)
    return total.numpy().astype(np.float32)


def random_returns(system: System, starts: np.ndarray, seed: int = 0) -> np.ndarray:
    """:func:`returns` of uniformly random actions."""
    rng, n = np.random.default_rng(seed), len(starts)

    def act(state: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(rng.integers(system.actions, size=n) if system.actions else rng.uniform(-1, 1, n))

    return returns(system, starts, act)


__all__ = ["SYSTEMS", "Acrobot", "CartPole", "Pendulum", "System", "random_returns", "returns"]
