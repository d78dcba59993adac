"""Rules for training that were planted are found, follow the task's features, and bend to the trials."""

import numpy as np
import pytest

from metabench.errors import UsageError
from metabench.metamodels.learned_schedule import LearnedSchedule, coordinates
from metabench.metatrain import MetaTrain, TaskInfo
from metabench.search.base import History, Problem
from metabench.space import Choice, Float, Ordinal, Space

SPACE = Space(
    learning_rate=Float(1e-4, 1.0, log=True, default=1e-2),
    optimizer=Choice("sgd", "adam", default="adam"),
    schedule=Choice("constant", "cosine", default="cosine"),
    batch_size=Ordinal(16, 64, 256, default=64),
    dropout=Float(0.0, 0.5, default=0.1),
)
CONFIGS = SPACE.sample(96, seed=0)


def info(task, size):
    features = {"log_rows": float(size), "noise": float(np.sin(17.0 * task))}
    return TaskInfo(f"task-{task}", f"family-{task}", "tabular", "mlp", "classification", "accuracy", "max", features)


def best_rate(size, optimizer, batch):
    """log10 of the planted optimum: sgd wants ten times adam's, more with large batches, less on large tasks."""
    return -2.5 + (optimizer == "sgd") * 1.0 + 0.3 * np.log2(batch / 64) / 2 - 0.5 * size


def score(size, configs, shift=0.0):
    log = np.log10(configs["learning_rate"].to_numpy(float))
    optimizer, batch = configs["optimizer"].to_numpy(), configs["batch_size"].to_numpy(float)
    wanted = np.array([best_rate(size, o, b) for o, b in zip(optimizer, batch, strict=True)]) + shift
    # adam is better on large tasks, sgd on small ones; cosine always
    liked = np.where(optimizer == "adam", 0.3 * size, -0.3 * size) + 0.2 * (configs["schedule"].to_numpy() == "cosine")
    return liked - 0.25 * (log - wanted) ** 2


def source(n=32, seed=0):
    sizes = np.random.default_rng(seed).uniform(-1.5, 1.5, n)
    scores = np.stack([score(s, CONFIGS) for s in sizes])[:, :, None]
    return MetaTrain(SPACE, CONFIGS, [info(t, s) for t, s in enumerate(sizes)], scores)


MODEL = LearnedSchedule(ridge=0.3).fit(source())


@pytest.mark.parametrize("size", [-1.2, 0.0, 1.2])
def test_planted_rules_are_found(size):
    rules = MODEL.rules(info(99, size)).set_index("optimizer")
    for optimizer, rule in rules.iterrows():
        wanted = best_rate(size, optimizer, rule["batch_size"])
        assert np.log10(rule["learning_rate"]) == pytest.approx(wanted, abs=0.4)
        assert rule["schedule"] == "cosine"
    if abs(size) > 1:
        assert rules.index[0] == ("adam" if size > 0 else "sgd")
    assert rules["score"].is_monotonic_decreasing


def test_trials_bend_the_rule():
    """Where features do not tell how large a task is, trials do: after ten its rule for the learning rate is known."""
    blind = source()
    tasks = [info(t, 0.0) for t in range(len(blind.tasks))]
    model = LearnedSchedule(ridge=0.3).fit(MetaTrain(SPACE, CONFIGS, tasks, blind.scores))
    truth, rng = score(1.4, CONFIGS), np.random.default_rng(0)
    tried = rng.permutation(len(CONFIGS))[:10]
    rest = np.setdiff1d(np.arange(len(CONFIGS)), tried)
    run = model.start(Problem(SPACE, info(99, 0.0), CONFIGS, 20), 0)
    said = [run.predict(h, rest).mean for h in (History(), History(tried.tolist(), truth[tried].tolist()))]
    before, after = (np.corrcoef(s, truth[rest])[0, 1] for s in said)
    assert after > 0.85 and after > before + 0.1


def test_it_walks_to_the_best():
    problem = Problem(SPACE, info(99, 0.7), CONFIGS, 20)
    run, history, truth = MODEL.start(problem, 0), History(), score(0.7, CONFIGS)
    for _ in range(4):
        c = run.ask(history)
        history.add(c, float(truth[c]))
    assert (truth > max(history.scores)).sum() <= 2


def test_coordinates_span_the_planted_rules():
    """Within an optimizer any quadratic in the learning rate, shifted by the batch size, is linear in them."""
    from metabench.metamodels.parts.source_space import blocks

    phi = coordinates(SPACE, blocks(SPACE, CONFIGS, list(SPACE)))
    y = score(0.4, CONFIGS)
    left = y - phi @ np.linalg.lstsq(phi, y, rcond=None)[0]
    assert left.std() < 1e-6 * y.std()


def test_a_space_without_those_hyperparameters_has_rules_of_what_it_has():
    space = Space(depth=Float(0.0, 1.0, default=0.5), kind=Choice("a", "b", default="a"))
    configs = space.sample(24, seed=1)
    rng = np.random.default_rng(0)
    scores = rng.random((6, 24, 1)) + configs["depth"].to_numpy()[:, None]
    model = LearnedSchedule().fit(MetaTrain(space, configs, [info(t, t / 6) for t in range(6)], scores))
    assert list(model.rules(info(9, 0.1)).columns) == ["score"]
    problem = Problem(space, info(9, 0.1), configs, 10)
    assert configs["depth"][model.start(problem, 0).ask(History())] > 0.6


def test_settings_out_of_range_are_refused():
    with pytest.raises(UsageError, match="learned_schedule: ridge"):
        LearnedSchedule(ridge=0.0)
