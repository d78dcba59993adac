import math
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metabench.publishing.charts import plots
from metabench.publishing.charts.svg import Scale, element, number, path, spread, tick_label


def parsed(markup):
    return ElementTree.fromstring(str(markup))


def test_numbers_are_short_and_have_no_negative_zero():
    assert [number(v) for v in (12.0, 12.34, -0.04, 1e-9, -3.96)] == ["12", "12.3", "0", "0", "-4"]


def test_elements_escape_text_and_attributes():
    e = element("text", '<b>"&', data_name='"><script>', x=1.0, y=None)
    assert e == '<text data-name="&#34;&gt;&lt;script&gt;" x="1">&lt;b&gt;&#34;&amp;</text>'
    assert element("g", [element("path", d="M0 0"), "a<b"]) == '<g><path d="M0 0"/>a&lt;b</g>'


def test_path():
    assert path([(0, 1), (2.55, 3)]) == "M0 1L2.5 3" and path([(0, 1), (2, 3)], close=True).endswith("Z")


def test_scales_map_ends_and_clip():
    linear, log = Scale(0, 10, 100, 0), Scale(1, 100, 0, 200, log=True)
    assert (linear(0), linear(5), linear(10), linear(99)) == (100, 50, 0, 0)
    assert log(1) == 0 and log(10) == pytest.approx(100) and log(0) == 0


def test_ticks_are_round_numbers_inside():
    assert Scale(0, 1.04, 0, 1).ticks() == pytest.approx([0, 0.5, 1.0])
    assert Scale(0.01, 1, 0, 1, log=True).ticks() == pytest.approx([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1])
    assert Scale(1e-4, 1, 0, 1, log=True).ticks() == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1])
    assert [tick_label(t) for t in (0.05, 20.0, 0.0, 0.30000000000000004)] == ["0.05", "20", "0", "0.3"]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=9))
def test_spread_keeps_order_gap_and_bounds(wanted):
    placed = spread(wanted, 10, 0, 100)
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], i))
    along = [placed[i] for i in order]
    assert all(b - a >= 10 - 1e-9 for a, b in pairwise(along))
    assert along[0] >= -1e-9 and along[-1] <= 100 + 1e-9


def test_spread_moves_only_what_collides_and_as_little_as_possible():
    assert spread([5, 50, 52], 10, 0, 100) == pytest.approx([5, 46, 56])


def series(method, mean, css="c1"):
    trials = list(range(1, len(mean) + 1))
    return plots.Series(method, css, trials, mean, [m * 0.5 for m in mean], [m * 1.5 for m in mean])


def points(node):
    return [tuple(map(float, p.split())) for p in node.get("d")[1:].rstrip("Z").split("L")]


def test_regret_panel_draws_every_method_where_its_values_are():
    drawn = plots.regret_panel(
        [series("good", [0.5, 0.1, 0.05]), series("bad", [1.0, 0.8, 0.6], "other")],
        uid="u",
        title="T",
        description="D",
        log=False,
        floor=0.2,
    )
    svg = parsed(drawn)
    ns = "{http://www.w3.org/2000/svg}"
    assert svg.find(f"{ns}title").text == "T" and svg.get("aria-labelledby") == "u-title u-desc"
    groups = {g.get("data-method"): g for g in svg.iter(f"{ns}g") if g.find(f"{ns}path[@class='line']") is not None}
    assert list(groups) == ["bad", "good"]  # the highlighted one on top
    good = points(groups["good"].find(f"{ns}path[@class='line']"))
    bad = points(groups["bad"].find(f"{ns}path[@class='line']"))
    # linear: equal steps of regret are equal steps of height
    scale = (good[0][1] - bad[0][1]) / 0.5
    assert good[1][1] - good[0][1] == pytest.approx(0.4 * scale, abs=0.2)
    floor = svg.find(f"{ns}line[@class='floor']")
    assert float(floor.get("y1")) == pytest.approx(bad[0][1] + 0.8 * scale, abs=0.2)
    # trials are logarithmic
    assert (good[1][0] - good[0][0]) / (good[2][0] - good[0][0]) == pytest.approx(math.log(2) / math.log(3), abs=1e-3)
    assert len(points(groups["good"].find(f"{ns}path[@class='band']"))) == 6
    labels = [t.text for t in svg.iter(f"{ns}text") if t.get("class") == "end-label"]
    assert labels == ["good"]


def test_log_scale_says_where_it_clips():
    drawn = str(plots.regret_panel([series("a", [0.5, 0.0, -0.1])], uid="u", title="T", description="D", log=True))
    assert "≤ 0.2" in drawn and "nan" not in drawn
    assert "≤" not in str(plots.regret_panel([series("a", [0.5])], uid="u", title="T", description="D", log=False))


def test_critical_difference_places_ranks_and_bars():
    ranks = [("a", 1.0, "c1"), ("b", 2.0, "c2"), ("c", 2.5, "other"), ("d", 4.0, "other")]
    svg = parsed(plots.critical_difference(ranks, [(0, 1), (1, 2)], uid="u", title="T", description="D"))
    ns = "{http://www.w3.org/2000/svg}"
    at = [float(c.get("cx")) for c in svg.iter(f"{ns}circle")]
    assert (at[2] - at[1]) / (at[3] - at[0]) == pytest.approx(0.5 / 3, abs=2e-3)
    bars = [line for line in svg.iter(f"{ns}line") if line.get("class") == "clique"]
    assert [(float(b.get("x1")) + 4, float(b.get("x2")) - 4) for b in bars] == [(at[0], at[1]), (at[1], at[2])]
    assert bars[0].get("y1") != bars[1].get("y1")  # they would touch at b


def test_scatter_labels_do_not_overlap():
    crowd = [(f"method_{i}", 1e-3 * (1 + i / 50), 3 + i * 0.3, "other") for i in range(4)]
    svg = parsed(plots.scatter(crowd, uid="u", title="T", description="D"))
    ns = "{http://www.w3.org/2000/svg}"
    labels = [t for t in svg.iter(f"{ns}text") if "point-label" in t.get("class", "")]
    boxes = [(float(t.get("x")), float(t.get("y")), t.get("class")) for t in labels]
    assert len(set(boxes)) == 4
    right = sorted(y for _, y, css in boxes if css == "point-label")
    assert all(b - a >= 13 for a, b in pairwise(right))


def test_pareto_front_and_durations():
    assert plots._pareto([(1, 3), (2, 2), (3, 2.5), (0.5, 4)]) == [(0.5, 4), (1, 3), (2, 2)]
    assert [plots.duration(s) for s in (2.0, 0.9, 0.0123, 1.2e-5, 0.99999, 0)] == [
        "2 s",
        "900 ms",
        "12 ms",
        "12 µs",
        "1.0 s",
        "0 µs",
    ]
