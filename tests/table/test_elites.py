"""Elites: what a search finds is stored with its origin, improves the pool, and never comes from a scored family."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from table_samples import SPACE, task, write_table

from metabench.errors import MetabenchError, UsageError
from metabench.search.continuous import Outcome
from metabench.table import TableWriter, load_table, reserved, table_names
from metabench.workflows import elites

ROOT = Path(__file__).parents[2]


class Bowl:
    """An objective whose best learning rate is known; every seed adds the same noise again."""

    def __init__(self, best=0.03, noise=0.0):
        self.best, self.noise, self.asked = best, noise, []

    def answer(self, trials):
        self.asked += trials
        out = []
        for trial in trials:
            off = np.log10(trial.config["learning_rate"] / self.best)
            noise = self.noise * np.random.default_rng([trial.seed, int(off * 1e6) % 2**31]).normal()
            out.append(Outcome(1.0 - off**2 + noise, 0.5, "ok", 0.1, "fake", "fake"))
        return out


def test_searches_find_configurations_that_are_stored_with_their_origin(tmp_path):
    path = write_table(tmp_path / "t/v1", n_configs=8)
    objective = Bowl()
    found = elites.find(
        load_table(path),
        "mlp",
        ["mlp-iris", "mlp-wine"],
        methods=("random", "tpe"),
        trials=12,
        keep=2,
        objective=objective,
    )
    assert [e.task_id for e in found] == ["mlp-iris"] * 2 + ["mlp-wine"] * 2
    assert {t.seed for t in objective.asked} == {0, 1, 2}  # searches use 0, their best are trained with others
    searched = [1.0 - np.log10(t.config["learning_rate"] / 0.03) ** 2 for t in objective.asked if t.seed == 0]
    assert found[0].score == pytest.approx(max(searched[: len(searched) // 2]))
    ids = elites.store(path, "mlp", found)
    origins = load_table(path).origins("mlp")
    assert ids[:2] == [8, 9] and set(ids) == set(range(8, len(origins)))  # one that both tasks have is stored once
    assert origins[8].startswith("elite:mlp-iris:") and origins[7] == "sobol"
    assert elites.store(path, "mlp", found) == ids  # again: nothing new


def test_no_elite_comes_from_a_task_that_the_split_scores(tmp_path):
    path = write_table(tmp_path / "t/v1", n_configs=8)
    (path / "splits.csv").write_text(
        "task_id,family,split\nmlp-digits,digits,meta_train\nmlp-iris,iris,meta_test\nmlp-wine,wine,meta_valid\n"
    )
    config = SPACE.default()
    for name in ("iris", "wine"):
        with pytest.raises(UsageError, match=f"mlp-{name} is scored by the table's split"):
            elites.store(path, "mlp", [elites.Elite(f"mlp-{name}", "tpe", config, 0.5)])
    assert elites.store(path, "mlp", [elites.Elite("mlp-digits", "tpe", config, 0.5)]) == [8]


def test_a_search_that_only_diverges_is_told(tmp_path):
    path = write_table(tmp_path / "t/v1", datasets=("iris",), n_configs=8)
    bad = SimpleNamespace(answer=lambda ts: [Outcome(np.nan, np.nan, "diverged", 0.1, "fake", "fake") for _ in ts])
    with pytest.raises(MetabenchError, match="all trainings of all searches diverged"):
        elites.find(load_table(path), "mlp", ["mlp-iris"], methods=("random",), trials=4, objective=bad)


@pytest.mark.parametrize(("gain", "expected"), [(0.0, 0.0), (4.0, 1.0)])
def test_a_round_counts_as_better_when_it_is(gain, expected):
    """Of tasks on which the new configurations are better by ``gain`` standard deviations of the noise, and of none."""
    rng = np.random.default_rng(int(gain))
    n = 100
    truth = rng.normal(0, 1, (n, 40, 1))
    truth[:, -4:] = truth[:, :-4].max(axis=1, keepdims=True) - 1 + gain
    scores = truth + rng.normal(0, 1, (n, 40, 10))
    ids = [f"mlp-{i}" for i in range(n)]
    frame = pd.DataFrame({"task_id": ids, "workload": "mlp", "direction": "max"})
    table = SimpleNamespace(tasks=frame, ran=lambda w, i: np.ones(scores.shape, bool), final=lambda w, i: scores)
    share = np.mean(list(elites.improved(table, "mlp", range(36, 40)).values()))
    assert abs(share - expected) <= 0.15


def test_donors_are_neither_reserved_nor_scored():
    donors = elites.read_donors(ROOT / "datasets/donors.txt")
    away = {t for part in reserved.read(ROOT / "datasets/reserved.txt").values() for t in part}
    assert len(donors) >= 10 and not away & set(donors)
    data = {task_id.partition("-")[2] for task_id in donors}  # other workloads search on the same data sets
    for name in table_names():
        for workload in load_table(name).workloads:
            found = [o.split(":") for o in load_table(name).origins(workload) if o.startswith("elite:")]
            assert {task_id.partition("-")[2] for _, task_id, _ in found} <= data


@pytest.mark.parametrize(("text", "says"), [("# none\n", "lists no donors"), ("mlp-a\nmlp-a\n", "lists a donor twice")])
def test_a_list_that_is_none_is_named(tmp_path, text, says):
    (tmp_path / "d.txt").write_text(text)
    with pytest.raises(UsageError, match=says):
        elites.read_donors(tmp_path / "d.txt")


def test_generate_trains_the_configurations_that_are_asked_for(tmp_path):
    from metabench.generate.plan import chosen_configs

    with TableWriter(tmp_path / "t") as writer:
        writer.put_tasks([task()])
        writer.put_configs("mlp", SPACE, 8)
        writer.add_configs("mlp", SPACE, SPACE.table([SPACE.default()]), ["default"])
        names = ["elite:mlp-iris:tpe", "elite:mlp-wine:gp"]
        writer.add_configs("mlp", SPACE, SPACE.sample(2, 3, method="random"), names)
    table = load_table(tmp_path / "t")
    given = table.configs("mlp"), table.origins("mlp")
    assert chosen_configs(*given, 4).index.tolist() == [0, 1, 2, 3]
    assert chosen_configs(*given, 2, ["default"]).index.tolist() == [0, 1, 8]
    assert chosen_configs(*given, 1, ["elite", "default"]).index.tolist() == [0, 8, 9, 10]
    assert chosen_configs(*given, 1, ["elite:mlp-wine"]).index.tolist() == [0, 10]
    with pytest.raises(UsageError, match="no configuration of origin 'elit'; it has default, elite, sobol"):
        chosen_configs(*given, 1, ["elit"])
