"""What carries over between workloads: who learns from what, and the figures that are made of it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from fakes import FakeTable, TwoWorkloads

from metabench.baselines.random import Random
from metabench.errors import UsageError
from metabench.publishing.reports import across
from metabench.publishing.reports.base import Findings, ReportContext
from metabench.space import Float, Space
from metabench.testing.planted import SPACE, PlantedFamily


def two_workloads(tasks=5, configs=32, seed=0, first=10):
    """Planted tasks under `planted`, and others under `narrow`, whose space lacks a hyperparameter and has another."""
    family, pool = PlantedFamily(), SPACE.sample(configs, seed)
    narrow = Space({n: p for n, p in SPACE.items() if n != "dropout"} | {"clip": Float(0.1, 10.0, log=True)})
    own = pool.drop(columns="dropout").assign(clip=np.geomspace(0.1, 10.0, configs))
    numbers = range(first, first + tasks)
    infos = [dataclasses.replace(family.info(t), task_id=f"narrow-{t}", workload="narrow") for t in numbers]
    scores = np.stack([family.scores(t, pool.assign(dropout=0.2), 4) for t in numbers])
    return TwoWorkloads(
        FakeTable.planted(tasks=tasks, configs=configs),
        FakeTable(scores[..., :2], scores[..., 2:], infos, own, narrow, "narrow"),
    )


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(across, "METHODS", ("empirical_gp", "task_gp"))
    monkeypatch.setattr(across, "BOTH", ("task_gp",))
    monkeypatch.setattr(across, "LONG", {"portfolio": {"size": 5}})
    monkeypatch.setattr(across, "workloads", lambda table: table.workloads)


def values(array):
    array = np.asarray(array).ravel()
    return set(array[np.isfinite(array)].tolist())


def test_no_method_learns_from_what_it_is_tested_on(quick, monkeypatch):
    """Every cell of the two tables is another number, so that one met in a source tells where it is from."""
    table, spied, rng = two_workloads(first=3), [], np.random.default_rng(0)
    for fake in table._of.values():
        fake._series = {k: rng.random(v.shape) for k, v in fake._series.items()}
    monkeypatch.setattr(across, "fitted", lambda name, source: (spied.append((name, source)), Random())[1])
    monkeypatch.setattr(across, "LONG", {})
    regret, facts = across.held_out(table, "planted", table.workloads)
    mine = {t: values(table.final("planted", [t])) for t in table._of["planted"].tasks["task_id"]}
    others = [source for _, source in spied[:1]]
    # families 3 and 4 are among the held-out tasks' own: of narrow-3 … narrow-7 nothing but 5, 6, 7 may be learned from
    assert [t.task_id for t in others[0].tasks] == ["narrow-5", "narrow-6", "narrow-7"] and facts["others"] == 3
    assert not values(others[0].scores) & set().union(*mine.values())
    own = [s for n, s in spied if n == "empirical_gp"][1:]
    assert len(own) == 5
    for (task_id, cells), source in zip(mine.items(), own, strict=True):
        assert values(source.scores) == set().union(*(c for t, c in mine.items() if t != task_id))
        assert not values(source.scores) & cells
    both = [s for n, s in spied if n == "task_gp"][1:]
    assert len(both) == 10  # with its own tasks alone and with all, in turn
    for (task_id, cells), source in zip(mine.items(), both[1::2], strict=True):
        assert len(source.tasks) == 7 and task_id not in {t.task_id for t in source.tasks}
        assert values(source.scores) >= values(others[0].scores) and not values(source.scores) & cells
    assert set(regret["learned"]) == {"others", "own", "both", "nothing"} and facts["shared"] == len(SPACE) - 1


def test_what_workloads_have_in_common_carries_over(quick):
    table = two_workloads(tasks=6, configs=32, first=20)
    facts, frames = across.Across().compute(ReportContext(table))
    assert facts == {"workloads": 2, "tasks": 12}
    total = frames["overall"].set_index(["method", "learned", "mark"])
    assert total.loc[("empirical_gp", "others", 5), "regret"] < total.loc[("random", "nothing", 5), "regret"]
    assert total.loc[("gp", "nothing", 5), "gain"] == 0.0
    assert np.isnan(total.loc[("portfolio", "others", 5), "behind"])
    assert total.loc[("task_gp", "both", 5), "regret"] < total.loc[("gp", "nothing", 5), "regret"]
    assert np.isfinite(total.loc[("task_gp", "both", 5), "behind"])
    page = across.Across().page(Findings.of("across", {}, facts, frames))
    assert "After 5 trials the best method that learned from other kinds of network alone" in " ".join(
        page.answer.split()
    )
    assert len(page.sections) == 2 and len(page.sections[1].figures) == 2


def test_differences_are_paired(monkeypatch):
    monkeypatch.setattr(across, "METHODS", ("m",))
    rng, rows = np.random.default_rng(1), []
    for w in range(6):
        for s in range(2):
            base = rng.random()
            for method, learned, add in (("m", "others", 0.1), ("m", "own", 0.0), ("gp", "nothing", 0.3)):
                rows += [
                    {
                        "workload": f"w{w}",
                        "task_id": f"t{w}",
                        "seed": s,
                        "method": method,
                        "learned": learned,
                        "mark": mark,
                        "regret": base + add,
                    }
                    for mark in across.MARKS
                ]
    found = across.overall(pd.DataFrame(rows)).set_index(["method", "learned", "mark"])
    at = found.loc[("m", "others", 5)]
    for column, value in (("gain", -0.2), ("behind", 0.1)):
        np.testing.assert_allclose(at[[column, f"{column}_low", f"{column}_high"]].astype(float), value)
    assert at["regret_high"] > at["regret"] > at["regret_low"]


def test_a_table_of_one_workload_is_refused(quick):
    with pytest.raises(UsageError, match="has one workload"):
        across.Across().compute(ReportContext(FakeTable.planted(tasks=4)))
