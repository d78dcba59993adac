"""Actor-critic in torch: one run as a plain loop over systems, and many runs over a leading axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical, Normal

from metabench.tasks.systems import SYSTEMS, System
from metabench.training import hashing, sequential
from metabench.training.cohort import Cohort, Parameters, Weight, initial
from metabench.training.learners import Learners
from metabench.training.optimizers import Optimizers
from metabench.training.runaxis import Keys, below, column, multiples, normal, segments, uniform
from metabench.training.schedules import learning_rates
from metabench.workloads.policy import Policy

#: start states of each part that a policy is judged on
JUDGED = 32
#: runs are padded to this width
WIDTH = 64
#: logarithm of the standard deviation of real actions, at first
LOG_STD = -0.5


def judged(data) -> dict[str, torch.Tensor]:
    """Part → the start states that scores are means over."""
    return {part: data[part][0][:JUDGED] for part in ("train", "valid", "test")}


# ----------------------------------------------------------------------------------------------------------- one run alone
class ActorCritic(nn.Module):
    """The networks of one configuration."""

    def __init__(self, arrays, config: dict[str, Any], seed: int):
        super().__init__()
        system, width = SYSTEMS[arrays.system], int(config["width"])
        kind = {"relu": nn.ReLU, "tanh": nn.Tanh}[config["activation"]]
        scales = (1.0, 1.0, float(config["init_scale"])), (1.0, 1.0, 1.0)
        nets = []
        for k, (outputs, stds) in enumerate(zip((max(system.actions, 1), 1), scales, strict=True)):
            layers: list[nn.Module] = []
            for i, (rows, columns) in enumerate(((system.observations, width), (width, width), (width, outputs))):
                linear = nn.Linear(rows, columns)
                linear.weight.data = torch.as_tensor(
                    initial(seed, 3 * k + i, (rows, columns), stds[i] / rows**0.5).T.copy()
                )
                linear.bias.data = torch.zeros(columns, dtype=torch.float64)
                layers += [linear, kind()]
            nets.append(nn.Sequential(*layers[:-1]))
        self.actor, self.critic = nets
        if not system.actions:
            self.log_std = nn.Parameter(torch.full((1,), LOG_STD, dtype=torch.float64))

    def policy(self, seen: torch.Tensor):
        """The distribution of actions [...] for observations [..., O]."""
        out = self.actor(seen)
        return Normal(out[..., 0], self.log_std.exp()) if hasattr(self, "log_std") else Categorical(logits=out)


class Alone(sequential.Alone):
    """One run, a system step after the other."""

    def __init__(self, workload: Policy, arrays, config: dict[str, Any], seed: int, data, epochs: int):
        self.system, self.config, self.seed, self.data = SYSTEMS[arrays.system], config, seed, data
        self.copies, self.rollout, self.steps = (
            int(config["batch_size"]),
            int(config["rollout"]),
            workload.updates(config),
        )
        self.net = workload.build(arrays, config, seed).to(device=data.device, dtype=data.dtype)
        self.optimizer = sequential.make_optimizer(self.net.parameters(), config)
        self.rates = learning_rates(config, epochs * self.steps)
        self.state, self.age = self._fresh(0), torch.zeros(self.copies, device=data.device)

    def _fresh(self, frame: int) -> torch.Tensor:
        """A start state for every copy, drawn for a frame (0: before the first)."""
        starts = self.data["train"][0]
        drawn = hashing.bits(hashing.key(self.seed, hashing.EPISODE, frame), np.arange(self.copies)) % len(starts)
        return starts[torch.as_tensor(drawn.astype(np.int64), device=starts.device)]

    def _act(self, policy, frame: int) -> torch.Tensor:
        index = np.arange(self.copies)
        if not self.system.actions:
            keys = [hashing.key(self.seed, s, frame) for s in (hashing.ACTION_A, hashing.ACTION_B)]
            return policy.mean + policy.stddev * torch.as_tensor(hashing.normal(*keys, index)).to(policy.mean)
        u = hashing.uniform(hashing.key(self.seed, hashing.ACTION_A, frame), index)
        passed = policy.probs.cumsum(-1) <= torch.as_tensor(u).to(policy.probs)[:, None]
        return passed.sum(-1).clamp_max(self.system.actions - 1)

    def epoch(self, epoch: int) -> bool:
        c = self.config
        gamma, trace = float(c["discount"]), float(c["trace"])
        for step in range(epoch * self.steps, (epoch + 1) * self.steps):
            seen, actions, rewards, after, over, ended = [], [], [], [], [], []
            with torch.no_grad():
                for t in range(self.rollout):
                    frame = step * self.rollout + t
                    seen.append(self.system.observe(self.state))
                    actions.append(self._act(self.net.policy(seen[-1]), frame))
                    self.state, reward, done = self.system.step(self.state, actions[-1])
                    self.age += 1
                    rewards.append(reward)
                    over.append(done)
                    ended.append(done | (self.age >= self.system.horizon))
                    after.append(self.system.observe(self.state))
                    self.state = torch.where(ended[-1][:, None], self._fresh(frame + 1), self.state)
                    self.age = torch.where(ended[-1], 0, self.age)
                value = [self.net.critic(s)[:, 0] for s in seen]
                coming = [self.net.critic(s)[:, 0] for s in after]
                advantage, advantages = torch.zeros_like(value[0]), []
                for t in reversed(range(self.rollout)):
                    surprise = self.system.scale * rewards[t] + gamma * coming[t] * ~over[t] - value[t]
                    advantage = surprise + gamma * trace * advantage * ~ended[t]
                    advantages.insert(0, advantage)
                gain = torch.stack(advantages)
                target = gain + torch.stack(value)
                if c["normalise"] == "yes":
                    gain = (gain - gain.mean()) / (gain.std(correction=0) + 1e-8)
            policy = self.net.policy(torch.stack(seen))
            policy_loss = -(policy.log_prob(torch.stack(actions)) * gain).mean()
            value_loss = 0.5 * (self.net.critic(torch.stack(seen))[..., 0] - target).square().mean()
            entropy = policy.entropy().mean()
            loss = policy_loss + float(c["value_weight"]) * value_loss - float(c["entropy"]) * entropy
            if not math.isfinite(loss.item()):
                return False
            self.optimizer.zero_grad()
            loss.backward()
            if c["clip"] == "norm":
                nn.utils.clip_grad_norm_(self.net.parameters(), float(c["clip_norm"]))
            for group in self.optimizer.param_groups:
                group["lr"] = self.rates[step]
            self.optimizer.step()
        return True

    @torch.no_grad()
    def evaluate(self) -> dict[str, tuple[float, float]]:
        found = {}
        for part, state in judged(self.data).items():
            total, going = torch.zeros(len(state), dtype=torch.float64), torch.ones(len(state), dtype=torch.float64)
            for _ in range(self.system.horizon):
                policy = self.net.policy(self.system.observe(state))
                action = policy.mean if not self.system.actions else policy.logits.argmax(-1)
                state, reward, over = self.system.step(state, action)
                total += going * reward.cpu()
                going *= ~over.cpu()
            found[part] = (-total.mean().item() / self.system.horizon, total.mean().item())
        return found


# ------------------------------------------------------------------------------------------------------- many runs at once
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
        self.steps = Policy.updates(rows[0])
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
        keys = [draw.at(frame) for draw in self.draws]
        if not self.system.actions:
            return out + self.w["log_std"].exp() * normal(*keys, self.index, out.dtype)
        u = uniform(keys[0], self.index, out.dtype)
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
