"""The page of a board of predictions in a browser: offline, from a file, at a phone's and a desk's width."""

import pytest
from fakes import FakeTable, board_for

pytestmark = pytest.mark.site


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    from metabench.evaluation.predict import predict
    from metabench.publishing.boards import predictions
    from metabench.scores.prediction import score_predictions

    table = FakeTable.planted(tasks=9, configs=64)
    board = board_for(table, budget=5, track="predict", observed=(0, 1, 5), title="Prediction")
    found = predict(["empirical_gp", "metric_knn", "gp"], board, table)
    out = tmp_path_factory.mktemp("board")
    predictions.build(board, score_predictions(found, table, board, resamples=20), table, out, "metabench evaluate")
    return out / "site/index.html"


@pytest.mark.parametrize("width", [360, 1280])
def test_it_reads_offline_and_nothing_is_wider_than_the_page(offline, address, width):
    page = offline(address, width)
    page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    rows = page.eval_on_selector_all(".ranking tbody tr", "rows => rows.map(r => r.dataset.method)")
    assert len(rows) == 4 and "(standard normal)" in rows
    page.locator("#filter").fill("transfer")
    shown = page.eval_on_selector_all(".ranking tbody tr", "rows => rows.filter(r => !r.hidden).length")
    assert shown == 2
    ends = page.eval_on_selector_all(
        ".end-label", "all => all.filter(e => e.getClientRects().length).map(e => e.getBoundingClientRect().right)"
    )
    assert all(end <= width for end in ends) and (len(ends) == 12 or width < 640)
