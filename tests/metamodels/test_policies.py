"""What is learned by searching: a policy that leaves its teacher behind, and the values of a known decision process."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from metabench.errors import UsageError
from metabench.metamodels.parts.searches import Course, every
from metabench.metamodels.policy_gradient import DISCOUNT, LAMBDA, PolicyGradient, Rollout, advantages, policy
from metabench.metamodels.q_learning import ACTIONS, Learner, QLearning, acquisitions
from metabench.metatrain import MetaTrain
from metabench.search.base import History
from metabench.testing import PlantedFamily
from metabench.testing.planted import SPACE

FAMILY, CONFIGS = PlantedFamily(seed=4), SPACE.sample(48, 4)
SOURCE = FAMILY.source(range(8), CONFIGS)
PLACE = np.arange(48)


def mirage(tasks, seed):
    """A quarter of the configurations is always second best, alike and far from the best, which is one of eight others: in
    ranks the former look good, in regret they are worth little once one of them is known."""
    rng, scores = np.random.default_rng(seed), np.empty((len(tasks), 48, 1))
    for row in scores:
        row[:, 0] = np.where(PLACE % 3 == 1, 0.5 + 0.05 * rng.random(48), 0.2 * rng.random(48))
        row[rng.choice(PLACE[PLACE % 6 == 0]), 0] = 1.0
    return MetaTrain(SPACE, CONFIGS, [FAMILY.info(t) for t in tasks], scores)


def regrets(model, course, follow):
    """Mean regret over 25 trials of every search, that of the policy or (not ``follow``) of expected improvement."""
    x = model._inputs(np.concatenate(model.source_.encoded, axis=1))
    network = policy(len(model.weights_) and 7 + model.see_x * x.shape[1], model.width)
    torch.nn.utils.vector_to_parameters(torch.as_tensor(model.weights_), network.parameters())
    tasks, seeds = every(course)
    search, found = course.search(tasks, seeds, 25), []
    while search.trials < 25:
        short, inputs = model._shortlist(*search.features(), x)
        with torch.no_grad():
            scores = network(torch.as_tensor(inputs))[0].numpy()
        search.step(short[np.arange(len(tasks)), scores.argmax(1) if follow else 0])
        found.append(search.regret)
    return np.mean(found, axis=0)


@pytest.mark.parametrize("algorithm, rate, iterations", [("ppo", 1e-2, 12), ("reinforce", 3e-3, 20)])
def test_the_policy_beats_its_teacher(algorithm, rate, iterations):
    model = PolicyGradient(algorithm, iterations=iterations, rate=rate).fit(mirage(range(24), 0))
    course = Course.of(model, mirage(range(100, 160), 1), held=True)
    gain = regrets(model, course, False) - regrets(model, course, True)
    assert gain.mean() > 3.0 * gain.std() / np.sqrt(len(gain))


def test_the_policy_begins_as_expected_improvement():
    network = policy(7, 8)
    x = torch.randn(3, 5, 7)
    x[0, 2, 0] = -50.0
    scores, value, _, std = network(x)
    known = x[..., 0] > -50
    torch.testing.assert_close(scores[known], x[..., 0][known])
    assert scores[0, 2] == -1e9 and value.shape == (3,) and (std > 0).all()


def test_advantages_are_sums_of_surprises():
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    surprise = rewards + DISCOUNT * np.vstack([values[1:], np.zeros(3)]) - values
    by_hand = [sum((DISCOUNT * LAMBDA) ** (k - t) * surprise[k] for k in range(t, 4)) for t in range(4)]
    np.testing.assert_allclose(advantages(rewards, values), by_hand)


def test_the_clipped_objective_has_no_slope_beyond_the_clip():
    """A state whose chosen candidate has become much more probable and was good: PPO leaves it, REINFORCE does not."""
    torch.manual_seed(0)
    state = Rollout(
        torch.randn(1, 4, 7), torch.tensor([1]), torch.tensor([-9.0]), torch.ones(1), torch.zeros(1), torch.zeros(1, 4)
    )
    slopes = []
    for algorithm in ("ppo", "reinforce"):
        network, flat = policy(7, 8), []
        for advantage in (1.0, 0.0):
            loss = PolicyGradient(algorithm).loss(network, replace(state, advantage=torch.tensor([advantage])))
            flat.append(torch.autograd.grad(loss, network.head.bias)[0])
        slopes.append((flat[0] - flat[1]).abs().max().item())
        assert slopes[-1] == 0.0 or algorithm == "reinforce"
    # the bias moves all scores alike: look at the trust in expected improvement, which does not
    network = policy(7, 8)
    loss = PolicyGradient("reinforce").loss(network, state)
    assert torch.autograd.grad(loss, network.trust)[0].abs() > 0


def test_q_learning_finds_the_values_of_a_known_decision_process():
    rng, states, actions, discount = np.random.default_rng(3), 6, 3, 0.8
    moves = rng.dirichlet(np.ones(states), size=(states, actions))
    rewards = rng.normal(size=(states, actions))
    optimum = np.zeros((states, actions))
    for _ in range(300):  # value iteration
        optimum = rewards + discount * moves @ optimum.max(1)
    learner, at = Learner(states, actions, discount), rng.integers(states, size=64)
    for _ in range(4000):
        action = rng.integers(actions, size=64)
        cumulative = moves[at, action].cumsum(1)
        after = np.minimum((rng.random((64, 1)) > cumulative).sum(1), states - 1)
        learner.update(np.eye(states)[at], action, rewards[at, action], np.eye(states)[after])
        at = after
    np.testing.assert_allclose(learner.values, optimum, atol=0.06)
    np.testing.assert_array_equal(learner.best(np.eye(states)), optimum.argmax(1))


def test_one_transition_in_a_table():
    learner = Learner(3, 2, 0.5)
    learner.values[1] = [4.0, 8.0]
    learner.update(np.eye(3)[[0, 0]], np.array([1, 1]), np.array([1.0, 3.0]), np.eye(3)[[1, 1]])
    assert learner.values[0].tolist() == pytest.approx([0.0, 6.0])  # the mean of 1 + .5 · 8 and 3 + .5 · 8 at first
    learner.update(np.eye(3)[[2]], np.array([0]), np.array([5.0]), None)
    assert learner.values[2, 0] == 5.0  # nothing comes after the end


@pytest.mark.parametrize("kind", ["tabular", "linear"])
def test_the_action_of_highest_value_is_followed(kind):
    model = QLearning(kind, rounds=2).fit(SOURCE)
    problem, scores = FAMILY.problem(100, CONFIGS, 20)
    tried = np.flatnonzero(np.isfinite(scores))[:4]
    history = History(tried.tolist(), scores[tried].tolist())
    for i, name in enumerate(ACTIONS):
        model.values_ = np.zeros_like(model.values_)
        model.values_[:, i] = 1.0
        if kind == "linear":
            model.values_[1:] = 0.0
        run = model.start(problem, 0)
        said = run.predict(history, np.arange(48))
        untried = history.untried(48)
        wanted = {"mean": said.mean, "deviation": said.std, "bound": said.mean + 2 * said.std}
        if name in wanted:
            assert run.ask(history) == untried[np.argmax(wanted[name][untried])]
        else:
            assert run.ask(history) == super(QLearning, run).ask(history)


def test_searching_by_values_pays():
    """On the mirage the mean and the improvement are worth less than the bound and the deviation."""
    source = mirage(range(24), 0)
    model = QLearning(rounds=20).fit(source)
    course = Course.of(model, mirage(range(100, 140), 1), held=True)
    found = {}
    for name in ("learned", "improvement"):
        tasks, seeds = every(course)
        search, regret = course.search(tasks, seeds, 25), []
        while search.trials < 25:
            mean, std = search.posterior()
            best = np.where(search.tried, mean, -np.inf).max(1) if search.trials else mean.max(1)
            gap = np.where(search.tried, -np.inf, mean).max(1) - best
            state = model._state(np.full(len(tasks), search.trials), search.stalled, gap)
            action = (state @ model.values_).argmax(1) if name == "learned" else np.zeros(len(tasks), dtype=int)
            scores = acquisitions(mean, std, best, search.trials)[np.arange(len(tasks)), action]
            search.step(np.where(search.tried, -np.inf, scores).argmax(1))
            regret.append(search.regret.mean())
        found[name] = np.mean(regret)
    assert found["learned"] < found["improvement"] - 0.02


def test_settings_out_of_range_are_refused():
    with pytest.raises(UsageError, match="unknown algorithm 'sarsa'"):
        PolicyGradient("sarsa")
    with pytest.raises(UsageError, match="width and rate"):
        PolicyGradient(width=0)
    with pytest.raises(UsageError, match="unknown kind"):
        QLearning("deep")
    with pytest.raises(UsageError, match="rounds"):
        QLearning(rounds=0)
