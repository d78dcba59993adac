"""Actor-critic over a run axis: many runs at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from metabench.tasks.systems import SYSTEMS, System
from metabench.training import hashing
from metabench.training.cohort import Cohort, Parameters, Weight
from metabench.training.learners import Learners
from metabench.training.optimizers import Optimizers
from metabench.training.runaxis import Keys, below, column, multiples, normal, segments, uniform
from metabench.training.schedules import learning_rates
from metabench.workloads.policy.network import LOG_STD, judged
from metabench.workloads.policy.shape import updates

#: runs are padded to this width
WIDTH = 64


class Group(Cohort):
    """Which runs may advance together: as many systems for as long a rollout."""

    @staticmethod
    def group(arrays, config: dict[str, Any]) -> tuple:
        return (int(config["rollout"]),)

    @staticmethod
    def order(config: dict[str, Any]) -> tuple:
        return config["activation"], config["optimizer"]


class Policies(Learners):
    """R actors and critics, padded to one width; states are [R, copies, S]."""

    def __init__(self, arrays, configs, seeds, data, epochs: int):
        rows, runs, dtype, device = configs.to_dict("records"), len(configs), data.dtype, data.device
        self.system: System = SYSTEMS[arrays.system]
        self.data, self.copies, self.rollout = data, int(rows[0]["batch_size"]), int(rows[0]["rollout"])
        self.steps = updates(rows[0])
        self.w = Parameters(_weights(self.system, rows), seeds, dtype, device)
        self.acts = [
            (torch.tanh if name == "tanh" else torch.relu, s) for name, s in segments([r["activation"] for r in rows])
        ]
        self.update = Optimizers(self.w.flat, self.w.grad, configs, learning_rates(configs, epochs * self.steps))
        names = ("discount", "trace", "entropy", "value_weight")
        self.h = {n: torch.as_tensor(column(configs, n), dtype=dtype, device=device)[:, None] for n in names}
        normalised = (configs["normalise"] == "yes").to_numpy(copy=True)
        self.normalised = torch.as_tensor(normalised, device=device)[:, None] if normalised.any() else None
        shape = (runs, 1)
        self.draws = [Keys(seeds, s, shape, device) for s in (hashing.ACTION_A, hashing.ACTION_B)]
        self.places = Keys(seeds, hashing.EPISODE, shape, device)
        self.index = multiples(np.arange(self.copies)).to(device)
        self.state = self._fresh(0)
        self.age = torch.zeros(runs, self.copies, dtype=dtype, device=device)
        self.trouble = torch.zeros(runs, dtype=dtype, device=device)

    def _fresh(self, frame) -> torch.Tensor:
        starts = self.data["train"][0]
        return starts[below(self.places.at(frame), self.index, len(starts))]

    def _net(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Outputs [R, n, C] of observations [R, n, O]."""
        for i in (0, 1):
            z = torch.baddbmm(self.w[f"{name}_b{i}"][:, None], x, self.w[f"{name}_w{i}"])
            x = torch.cat([act(z[s]) for act, s in self.acts]) if len(self.acts) > 1 else self.acts[0][0](z)
        # a product with one column goes another way alone than in company: the weights are padded to two
        return torch.baddbmm(self.w[f"{name}_b2"][:, None], x, self.w[f"{name}_w2"])

    def _actor(self, seen: torch.Tensor) -> torch.Tensor:
        out = self._net("actor", seen)
        return out[..., 0] if not self.system.actions else out[..., : self.system.actions]

    def _critic(self, seen: torch.Tensor) -> torch.Tensor:
        return self._net("critic", seen)[..., 0]

    def begin(self, epoch: int) -> None:
        """Nothing: what is drawn is hashed from the step."""

    @torch.no_grad()
    def _roll(self, step):
        seen, actions, rewards, after, over, ended = [], [], [], [], [], []
        for t in range(self.rollout):
            frame = step * self.rollout + t
            seen.append(self.system.observe(self.state).clone())  # the state is overwritten below
            actions.append(self._act(self._actor(seen[-1]), frame))
            state, reward, done = self.system.step(self.state, actions[-1])
            self.age.add_(1.0)
            rewards.append(reward)
            over.append(done)
            ended.append(done | (self.age >= self.system.horizon))
            after.append(self.system.observe(state))
            self.state.copy_(torch.where(ended[-1][..., None], self._fresh(frame + 1), state))
            self.age.mul_((~ended[-1]).to(self.age.dtype))
        return [torch.cat(x, 1) for x in (seen, actions, rewards, after, over, ended)]

    def _act(self, out: torch.Tensor, frame) -> torch.Tensor:
        key_a, key_b = (draw.at(frame) for draw in self.draws)
        if not self.system.actions:
            return out + self.w["log_std"].exp() * normal(key_a, key_b, self.index, out.dtype)
        u = uniform(key_a, self.index, out.dtype)
        passed = torch.softmax(out, -1).cumsum(-1) <= u[..., None]
        return passed.sum(-1).clamp_max(self.system.actions - 1)

    @torch.no_grad()
    def _advantages(self, seen, rewards, after, over, ended) -> tuple[torch.Tensor, torch.Tensor]:
        """Advantages and targets of the critic, [R, rollout * copies]."""
        value, coming = self._critic(seen), self._critic(after)
        gamma = self.h["discount"]
        surprise = (self.system.scale * rewards + gamma * coming * (~over).to(value.dtype) - value).split(
            self.copies, 1
        )
        going = (gamma * self.h["trace"] * (~ended).to(value.dtype)).split(self.copies, 1)
        found = [surprise[-1]]
        for t in reversed(range(self.rollout - 1)):
            found.append(surprise[t] + going[t] * found[-1])
        gain = torch.cat(found[::-1], 1)
        target = gain + value
        if self.normalised is not None:
            normal = (gain - gain.mean(1, keepdim=True)) / (gain.std(1, correction=0, keepdim=True) + 1e-8)
            gain = torch.where(self.normalised, normal, gain)
        return gain, target

    def advance(self, step) -> None:
        seen, actions, *told = self._roll(step)
        gain, target = self._advantages(seen, *told)
        with torch.enable_grad():
            out = self._actor(seen)
            if self.system.actions:
                log = torch.log_softmax(out, -1)
                chosen = log.gather(-1, actions[..., None])[..., 0]
                entropy = -(log.exp() * log).sum(-1)
            else:
                log_std = self.w["log_std"]
                chosen = -0.5 * ((actions - out) / log_std.exp()).square() - log_std - 0.5 * math.log(2 * math.pi)
                entropy = 0.5 + 0.5 * math.log(2 * math.pi) + log_std
            error = (self._critic(seen) - target).square()
            h = self.h
            loss = (0.5 * h["value_weight"] * error - chosen * gain).mean(1) - h["entropy"][:, 0] * entropy.mean(1)
        self.w.backward(loss, torch.ones_like(loss))
        self.trouble.add_(loss.detach() * 0.0)
        self.update.step(step)

    @torch.no_grad()
    def evaluate(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        starts = judged(self.data)
        state = torch.cat(list(starts.values())).expand(len(self.trouble), -1, -1)
        total = torch.zeros(state.shape[:2], dtype=torch.float64, device=state.device)
        going = torch.ones_like(total)
        for _ in range(self.system.horizon):
            out = self._actor(self.system.observe(state))
            state, reward, over = self.system.step(state, out if not self.system.actions else out.argmax(-1))
            total += going * reward
            going *= (~over).to(going.dtype)
            if not going.any():
                break
        found, low = {}, 0
        for part, some in starts.items():
            score = total[:, low : low + len(some)].mean(1)
            found[part], low = (-score / self.system.horizon, score), low + len(some)
        return found

    def resume(self, old: Policies, kept: torch.Tensor) -> None:
        self.w.flat.copy_(old.w.flat[kept])
        self.state.copy_(old.state[kept])
        self.age.copy_(old.age[kept])
        self.update.resume(old.update, kept)


def _weights(system: System, rows: list[dict[str, Any]]) -> dict[str, Weight]:
    """Parameters in the order of the plain networks' streams: the weights of actor and critic, then the biases."""
    widths = [int(row["width"]) for row in rows]
    scale = np.array([float(row["init_scale"]) for row in rows])
    inner = np.array(widths, dtype=float) ** -0.5
    weights, biases = {}, {}
    for net, outputs in (("actor", max(system.actions, 1)), ("critic", 1)):
        last = inner * scale if net == "actor" else inner
        columns = max(2, outputs)
        sizes = {
            0: ((system.observations, WIDTH), system.observations**-0.5, [(system.observations, w) for w in widths]),
            1: ((WIDTH, WIDTH), inner, [(w, w) for w in widths]),
            2: ((WIDTH, columns), last, [(w, outputs) for w in widths]),
        }
        for i, (shape, std, own) in sizes.items():
            weights[f"{net}_w{i}"] = Weight(shape, std, own=own)
            biases[f"{net}_b{i}"] = Weight((shape[1],))
    if not system.actions:
        biases["log_std"] = Weight((1,), start=LOG_STD)
    return weights | biases
