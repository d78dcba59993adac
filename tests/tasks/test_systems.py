"""The simulated systems step by step against Gymnasium's, and what random actions earn."""

import math

import numpy as np
import pytest
import torch

from metabench import tasks
from metabench.tasks.systems import SYSTEMS, random_returns, returns, wrapped


@pytest.mark.parametrize(
    ("name", "theirs", "steps"),
    [
        ("cartpole", "CartPole-v1", 60),
        ("acrobot", "Acrobot-v1", 200),
        ("pendulum", "Pendulum-v1", 200),
    ],
)
def test_every_step_is_gymnasiums(name, theirs, steps):
    gymnasium = pytest.importorskip("gymnasium")
    system, rng = SYSTEMS[name], np.random.default_rng(0)
    world = gymnasium.make(theirs).unwrapped
    for episode in range(5):
        world.reset(seed=episode)
        state = system.starts(1, rng)[0].astype(np.float64)
        world.state = state.copy()
        state = torch.as_tensor(state)
        for _ in range(steps):
            if system.actions:
                action = given = int(rng.integers(system.actions))
            else:
                action, given = rng.uniform(-1.2, 1.2), None
                given = np.array([system.torque * action])
            seen, reward, over, _, _ = world.step(given)
            state, ours, done = system.step(
                state, torch.tensor(action, dtype=torch.float64 if not system.actions else torch.long)
            )
            assert bool(done) == over and float(ours) == pytest.approx(float(reward), abs=1e-9)
            np.testing.assert_allclose(system.observe(state), seen, atol=2e-6)  # theirs is float32
            there = np.asarray(world.state, dtype=float)
            np.testing.assert_allclose(state, there, rtol=1e-9, atol=1e-9)
            if over:
                break
            state = torch.as_tensor(there)
    world.close()


def test_many_at_a_time_are_one_at_a_time():
    for system in SYSTEMS.values():
        starts = torch.as_tensor(system.starts(6, np.random.default_rng(1)), dtype=torch.float64)
        actions = torch.arange(6) % max(system.actions, 2)
        actions = actions if system.actions else actions / 3.0
        together = system.step(starts.view(2, 3, -1), actions.view(2, 3))
        for i in range(6):
            alone = system.step(starts[i], actions[i])
            for a, b in zip(together, alone, strict=True):
                assert torch.equal(a.reshape(6, *b.shape)[i], b)
        assert system.observe(starts).shape == (6, system.observations)


def test_angles():
    angles = torch.tensor([-math.pi, 0.0, 3.0, 7.0, -9.0], dtype=torch.float64)
    assert ((wrapped(angles) >= -math.pi) & (wrapped(angles) < math.pi)).all()
    torch.testing.assert_close(wrapped(angles).cos(), angles.cos())


def test_random_actions_earn_what_is_known():
    """About 22 steps of balance; no swing-up; some -1200 (Gymnasium's own random play)."""
    found = {n: random_returns(s, s.starts(400, np.random.default_rng(2))).mean() for n, s in SYSTEMS.items()}
    assert 18 < found["cartpole"] < 26 and found["acrobot"] < -195 and -1400 < found["pendulum"] < -1050
    assert found["cartpole_long"] > found["cartpole"]


def test_a_law_written_by_hand_controls_every_system():
    found = {n: returns(s, s.starts(32, np.random.default_rng(3)), s.rule).mean() for n, s in SYSTEMS.items()}
    assert found["cartpole"] == found["cartpole_long"] == 200
    assert found["acrobot"] > -90 and found["acrobot_light"] > -80
    assert found["pendulum"] > -200 and found["pendulum_weak"] > -260


def test_tasks_of_systems():
    ids = tasks.names("policy")
    assert len(ids) == 6
    task = tasks.get("policy-cartpole")
    assert (task.metric, task.direction, task.modality, task.family) == ("return", "max", "control", "cartpole")
    arrays = task.arrays(0)
    assert arrays.system == "cartpole" and arrays.shape == (4,) and 15 < task.chance < 30
    assert all(np.isfinite(v) or np.isnan(v) for v in task.features.values())
