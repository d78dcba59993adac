"""The method to use when there is no time to choose: whom it follows, and when it stops to trust the source."""

from dataclasses import replace

import numpy as np
import pytest

from metabench.baselines.gp import GP
from metabench.errors import MetabenchError, UsageError
from metabench.metamodels import auto
from metabench.metamodels.auto import LENGTHS, Auto
from metabench.metamodels.empirical_gp import EmpiricalGP
from metabench.metamodels.portfolio import Portfolio
from metabench.metamodels.task_gp import TaskGP
from metabench.search.base import History
from metabench.testing import PlantedFamily
from metabench.testing.planted import SPACE

FAMILY, CONFIGS = PlantedFamily(seed=9), SPACE.sample(64, 9)
SOURCE = FAMILY.source(range(24), CONFIGS)
MODEL = Auto().fit(SOURCE)
SPLIT = replace(SOURCE.select(range(16)), valid=SOURCE.select(range(16, 24)))


def search(model, problem, scores, trials):
    run, history = model.start(problem, 0), History()
    for _ in range(trials):
        c = run.ask(History(list(history.candidates), list(history.scores)))
        history.add(c, float(scores[c]))
    return run, history


def test_on_a_friendly_target_it_is_its_predictor():
    assert set(MODEL.chosen_) == {"task_gp"}
    same = TaskGP().fit(SOURCE)
    for task in range(100, 104):
        problem, scores = FAMILY.problem(task, CONFIGS, 30)
        run, history = search(MODEL, problem, scores, 20)
        assert history.candidates == search(same, problem, scores, 20)[1].candidates
        assert run.disagreement(history) < 0


def test_on_an_adverse_target_it_goes_on_as_gp_does():
    """What was good on the source is bad here: within 15 trials the source is no longer believed."""
    for task in range(100, 104):
        problem, scores = FAMILY.problem(task, CONFIGS, 40)
        worst = np.nanmin(scores)
        adverse = -np.where(np.isfinite(scores), scores, worst)
        run, history = search(MODEL, problem, adverse, 15)
        assert run.disagreement(history) > run.doubt
        for n in range(3, 16, 2):
            seen = History(history.candidates[:n], history.scores[:n])
            run = MODEL.start(problem, 0)
            follows = GP() if run.disagreement(seen) > run.doubt else MODEL.members_["task_gp"]
            assert run.ask(seen) == follows.start(problem, 0).ask(seen)


def test_with_an_opening_the_first_trials_are_a_portfolios():
    problem, scores = FAMILY.problem(100, CONFIGS, 20)
    _, history = search(Auto(opening=3).fit(SPLIT), problem, scores, 4)
    assert history.candidates[:3] == search(Portfolio().fit(SOURCE), problem, scores, 3)[1].candidates


def test_those_that_judged_are_learned_from_as_well():
    np.testing.assert_array_equal(Auto().fit(SPLIT).members_["task_gp"].targets_, TaskGP().fit(SOURCE).targets_)


def test_where_features_tell_nothing_the_predictor_without_them_may_be_chosen(monkeypatch):
    """Judged by held-out tasks: features at random mislead a kernel that has to believe in them."""
    rng = np.random.default_rng(0)
    tasks = [replace(t, features={f"f{i}": float(v) for i, v in enumerate(rng.normal(size=8))}) for t in SOURCE.tasks]
    blind = TaskGP.fit

    def misled(self, source):
        model = blind(self, source)
        model.relevance_ = np.full_like(model.relevance_, 5.0)
        return model

    monkeypatch.setattr(TaskGP, "fit", misled)
    assert set(Auto().fit(replace(SOURCE, tasks=tasks)).chosen_[:3]) == {"empirical_gp"}


def test_a_predictor_has_to_be_clearly_better():
    n = len(LENGTHS)
    first, other = np.zeros((n, 4)), np.zeros((n, 4))
    other[0], other[1], other[2] = [1.0, 1.1, 0.9, 1.0], [3.0, -2.0, 1.0, -1.0], -1.0
    other[3, :2] = np.nan
    other[4], first[5] = 1.0, np.nan
    assert auto._clearly_best({"a": first, "b": other}) == ["b", "a", "a", "a", "b", "a"]


def test_it_is_kept_with_its_members(tmp_path):
    model = Auto(opening=1).fit(SPLIT)
    again = Auto.load(model.save(tmp_path))
    problem, scores = FAMILY.problem(101, CONFIGS, 12)
    assert search(model, problem, scores, 8)[1].candidates == search(again, problem, scores, 8)[1].candidates
    text = (tmp_path / "metamodel.json").read_text()
    (tmp_path / "metamodel.json").write_text(text.replace('"task_gp"', '"../../x"'))
    with pytest.raises(MetabenchError, match="malformed"):
        Auto.load(tmp_path)


def test_evidence_is_the_likelihood_of_a_gaussian_process():
    problem, scores = FAMILY.problem(102, CONFIGS, 12)
    run, model = MODEL.start(problem, 0), MODEL.members_["task_gp"].start(problem, 0)
    tried = np.flatnonzero(np.isfinite(scores))[:8]
    run._plain.observe(tried)
    y = scores[tried]
    found = auto.evidence(run._plain, tried, np.zeros(64), y)
    _, _, a, b = run._plain.posterior(np.zeros(64), y)
    rows = np.stack([run._plain._row(i) for i in tried])[:, tried] + model.noise * np.eye(8)
    z = (y - a) / b
    by_hand = -0.5 * (z @ np.linalg.solve(rows, z) + np.linalg.slogdet(rows)[1]) - 8 * np.log(b)
    assert found == pytest.approx(by_hand)


def test_settings_out_of_range_are_refused():
    for settings in ({"opening": -1}, {"doubt": -1.0}):
        with pytest.raises(UsageError, match="auto: opening and doubt"):
            Auto(**settings)
    assert isinstance(MODEL.members_["task_gp"], EmpiricalGP)
