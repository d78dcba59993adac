"""Actor-critic in torch, one run alone: what defines the workload."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical, Normal

from metabench.tasks.systems import SYSTEMS
from metabench.training import hashing, sequential
from metabench.training.cohort import initial
from metabench.training.schedules import learning_rates
from metabench.workloads.policy.shape import JUDGED, updates

#: logarithm of the standard deviation of real actions, at first
LOG_STD = -0.5


def judged(data) -> dict[str, torch.Tensor]:
    """Part → the start states that scores are means over."""
    return {part: data[part][0][:JUDGED] for part in ("train", "valid", "test")}


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

    def __init__(self, workload, arrays, config: dict[str, Any], seed: int, data, epochs: int):
        self.system, self.config, self.seed, self.data = SYSTEMS[arrays.system], config, seed, data
        self.copies, self.rollout, self.steps = (
            int(config["batch_size"]),
            int(config["rollout"]),
            updates(config),
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
            key_a, key_b = [hashing.key(self.seed, s, frame) for s in (hashing.ACTION_A, hashing.ACTION_B)]
            return policy.mean + policy.stddev * torch.as_tensor(hashing.normal(key_a, key_b, index)).to(policy.mean)
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
