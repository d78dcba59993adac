import re

import numpy as np
import pyarrow as pa
import pytest
from fakes import FakeTable, First, board_for
from scipy import integrate, stats

from metabench.errors import MetabenchError, UsageError
from metabench.evaluation.predict import predict, read_predictions
from metabench.publishing.boards import predictions as publishing
from metabench.scores.prediction import PRIOR, calibrate, crps_normal, normal_scores, score_predictions
from metabench.search.base import Prediction, Surrogate

OBSERVED = (0, 1, 5, 25)
TRUTH: dict = {}


class Oracle(Surrogate):
    """Knows the truth up to noise of a known size, on a scale of its own."""

    name = "oracle"

    def __init__(self, noise: float = 0.5):
        self.noise = noise

    def predict(self, history, candidates):
        rng = np.random.default_rng([self.seed, len(history), int(self.problem.task.task_id.split("-")[1])])
        mean = TRUTH[self.problem.task.task_id][candidates] + self.noise * rng.normal(size=len(candidates))
        return Prediction(7 + 100 * mean, np.full(len(candidates), 12.0))


class Constant(Surrogate):
    name = "constant"

    def predict(self, history, candidates):
        return Prediction(np.full(len(candidates), 3.0), np.zeros(len(candidates)))


class Falls(Surrogate):
    name = "falls"

    def predict(self, history, candidates):
        return Prediction(np.full(len(candidates), np.nan), np.ones(len(candidates)))


@pytest.fixture(scope="module")
def table():
    table = FakeTable.planted(tasks=16, configs=128, seeds=1, noise=0.0)
    scores = normal_scores(table.final("planted", [f"planted-{i}" for i in range(16)])[..., 0])
    TRUTH.update({f"planted-{i}": scores[i] for i in range(16)})
    return table


@pytest.fixture(scope="module")
def board(table):
    return board_for(table, budget=25, seeds=2, train=4, valid=4)


@pytest.fixture(scope="module")
def scores(table, board):
    return score_predictions(predict([Oracle(), Constant()], board, table), table, board, resamples=100)


@pytest.mark.parametrize(("truth", "mean", "std"), [(0.3, -0.2, 0.7), (4.0, 0.0, 1.0), (0.0, 0.0, 0.1)])
def test_crps_is_the_integral_that_defines_it(truth, mean, std):
    def integrand(x):
        return (stats.norm.cdf(x, mean, std) - (x >= truth)) ** 2

    expected, _ = integrate.quad(integrand, -12, 12, points=[truth], limit=200)
    assert crps_normal(np.array(truth), np.array(mean), np.array(std)) == pytest.approx(expected, abs=1e-6)


def test_normal_scores_put_what_diverged_last():
    z = normal_scores(np.array([0.1, np.nan, 0.9, 0.5]))
    assert z == pytest.approx(stats.norm.ppf([0.375, 0.125, 0.875, 0.625]))


def test_an_oracle_with_known_noise_is_calibrated(scores):
    """Truth is standard normal and noise .5, so the best predictor has slope 1/1.25, correlation √.8, RMSE √.2."""
    rows = scores.summary[scores.summary["method"] == "oracle"]
    assert rows["observed"].tolist() == list(OBSERVED)
    assert rows["rmse"].to_numpy() == pytest.approx(np.sqrt(0.2), abs=0.03)
    expected = 6 / np.pi * np.arcsin(np.sqrt(0.8) / 2)  # Spearman's of a bivariate normal
    assert rows["spearman"].to_numpy() == pytest.approx(expected, abs=0.03)
    assert rows["coverage"].to_numpy() == pytest.approx(0.9, abs=0.02)
    assert rows["crps"].to_numpy() == pytest.approx(np.sqrt(0.2) / np.sqrt(np.pi), abs=0.02)
    assert (rows["crps_low"] <= rows["crps"]).all() and (rows["crps"] <= rows["crps_high"]).all()


def test_one_that_knows_nothing_is_as_good_as_the_prior(scores):
    both = scores.summary.set_index(["method", "observed"])[["spearman", "rmse", "crps", "coverage"]]
    for observed in OBSERVED:
        assert both.loc["constant", observed].to_numpy() == pytest.approx(
            both.loc[PRIOR, observed].to_numpy(), abs=0.02
        )
        assert both.loc[PRIOR, observed].to_numpy() == pytest.approx([0, 1, 1 / np.sqrt(np.pi), 0.9], abs=0.05)


def test_the_units_of_a_method_do_not_matter(table, board):
    class Other(Oracle):
        name = "other"

        def predict(self, history, candidates):
            p = super().predict(history, candidates)
            return Prediction(-3 + 0.001 * p.mean, 0.5 * p.std)

    summary = score_predictions(predict([Oracle(), Other()], board, table), table, board, resamples=20).summary
    one, two = (summary[summary["method"] == m].reset_index(drop=True) for m in ("oracle", "other"))
    for name in ("spearman", "rmse", "crps", "coverage"):
        np.testing.assert_allclose(one[name], two[name], atol=2e-3)


def test_only_what_was_not_observed_is_judged(table, board):
    """Predictions that are wrong exactly on the observed trials lose nothing."""

    class Blind(Oracle):
        name = "oracle"

        def predict(self, history, candidates):
            p = super().predict(history, candidates)
            return Prediction(np.where(np.isin(candidates, history.candidates), -1e3, p.mean), p.std)

    assert len(predict(Blind(0.0), board, table, observed=(25,))["config_ids"][0]) == 25
    summary = score_predictions(predict(Blind(0.0), board, table, observed=(25,)), table, board, resamples=20).summary
    assert summary.set_index("method").loc["oracle", "spearman"] == pytest.approx(1.0)


def test_the_width_is_fitted_on_validation_tasks_alone():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(3, 2, 400))
    slope, width = calibrate(
        2 * truth, np.full(truth.shape, 5.0), truth + 0.25 * rng.normal(size=truth.shape), truth < 9
    )
    assert slope == pytest.approx(0.5, abs=0.01) and width * 5.0 == pytest.approx(0.25, abs=0.01)


def test_stored_predictions_are_not_asked_for_again(table, board, tmp_path, monkeypatch):
    first = predict([Oracle(), Constant()], board, table, store=tmp_path)
    monkeypatch.setattr(Constant, "predict", lambda *a: 1 / 0)
    monkeypatch.setattr(Oracle, "predict", lambda *a: 1 / 0)
    again = predict([Oracle(), Constant()], board, table, store=tmp_path)
    assert again.drop_columns("overhead").equals(first.drop_columns("overhead"))
    with pytest.raises(MetabenchError, match="method 'oracle' failed on task planted-4, seed 0: ZeroDivisionError"):
        predict(Oracle(0.1), board, table, store=tmp_path)


def test_mistakes_are_told(table, board, tmp_path):
    with pytest.raises(UsageError, match="'first' proposes but does not predict"):
        predict(First, board, table)
    with pytest.raises(MetabenchError, match=r"method 'falls' failed .* not finite"):
        predict(Falls, board, table)
    with pytest.raises(UsageError, match="ascending numbers of trials under 128"):
        predict(Oracle(), board, table, observed=(5, 1))
    rows = predict(Oracle(), board, table, observed=(1,))
    with pytest.raises(MetabenchError, match=r"task planted-4, seed 0 is absent"):
        score_predictions(rows.slice(1), table, board)
    with pytest.raises(UsageError, match="meta-valid, which is empty"):
        score_predictions(rows, table, board_for(table, budget=25, valid=0))
    short = pa.Table.from_pylist([row | {"mean": row["mean"][:5]} for row in rows.to_pylist()], rows.schema)
    with pytest.raises(MetabenchError, match="speaks of 5 configurations"):
        score_predictions(short, table, board)
    (tmp_path / "p.parquet").write_bytes(b"no")
    with pytest.raises(MetabenchError, match="holds no predictions"):
        read_predictions(tmp_path / "p.parquet")


def test_a_board_is_published_and_its_staleness_noticed(table, board, scores, tmp_path):
    command = "metabench evaluate --board fake"
    paths = publishing.build(board, scores, table, tmp_path, command)
    data = [f"site/data/{name}.csv" for name in ("summary", "tasks")]
    expected = ["README.md", "scores.csv", "scores.json", "scores.parquet", "site/board.js", *data, "site/index.html"]
    assert [p.relative_to(tmp_path).as_posix() for p in paths] == [*expected, "site/style.css"]
    before = {p: p.read_bytes() for p in paths}
    publishing.build(board, scores, table, tmp_path, command)
    assert {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()} == before
    text = (tmp_path / "README.md").read_text()
    row = scores.summary[(scores.summary["method"] == "oracle") & (scores.summary["observed"] == 5)].iloc[0]
    assert f"| oracle | {row['spearman']:.3f} [{row['spearman_low']:.3f}, {row['spearman_high']:.3f}]" in text
    assert text.count("| oracle |") == len(OBSERVED) and command in text
    assert publishing.check(board, scores, table, tmp_path, command) == []
    (tmp_path / "README.md").write_text("old")
    (tmp_path / "scores.csv").unlink()
    (tmp_path / "site/left.html").write_text("")
    stale = publishing.check(board, scores, table, tmp_path, command)
    assert stale == [
        f"{tmp_path / 'README.md'} is stale",
        f"{tmp_path / 'scores.csv'} is absent",
        f"{tmp_path / 'site/left.html'} is left over",
    ]


def test_the_page_holds_the_measures_and_a_chart_of_each(table, board, scores):
    page = publishing.contents(board, scores, table, "metabench evaluate --board fake")["site/index.html"].decode()
    at = scores.summary.set_index(["method", "observed"])
    last = OBSERVED[-1]
    for measure in ("crps", "spearman", "rmse", "coverage"):
        for method in ("oracle", "constant"):
            assert f'data-value="{at.loc[(method, last), measure]:.6g}"' in page, (method, measure)
    order = re.findall(r'<tr data-method="([^"]+)"', page)
    assert order == at.xs(last, level="observed").sort_values("crps", kind="stable").index.tolist()
    for measure in ("crps", "spearman", "coverage"):
        assert page.count(f'id="predict-{measure}-title"') == 1
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert page.count("<svg") == page.count("</svg>")


def test_a_chart_has_its_numbers_of_trials_at_even_distances():
    from metabench.publishing.boards.prediction_page import measure_panel
    from metabench.publishing.charts.plots import Series

    series = [Series("a", "c1", range(3), [0.1, 0.2, 0.3], [0.0, 0.1, 0.2], [0.2, 0.3, 0.4])]
    chart = str(measure_panel(series, [0, 5, 25], uid="u", title="t", description="d", target=0.9))
    (line,) = re.findall(r'd="(M[^"]+)" class="line"', chart)
    xs = [float(pair.split(" ")[0]) for pair in line[1:].split("L")]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1]) and 'class="floor"' in chart
    assert re.findall(r'class="tick middle">(\d+)<', chart) == ["0", "5", "25"]


def test_half_precision_changes_no_score_that_is_shown(table, board):
    rows = predict([Oracle(), Constant()], board, table)
    exact, rounded = (score_predictions(r, table, board, resamples=20).summary for r in (rows, publishing.kept(rows)))
    for name in ("spearman", "rmse", "crps", "coverage"):
        np.testing.assert_allclose(exact[name], rounded[name], atol=5e-3)
