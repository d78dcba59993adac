"""The explorer in a browser: from a file, offline, by mouse and by keyboard, at a phone's and a desk's width."""

import re

import pytest

pytestmark = pytest.mark.site


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    from table_samples import write_table

    from metabench.table import load_table

    return load_table(write_table(tmp_path_factory.mktemp("tables") / "tiny/v1", n_configs=64))


@pytest.fixture(scope="module")
def pages(table, tmp_path_factory):
    from metabench.publishing.explorer import build

    out = tmp_path_factory.mktemp("explore")
    build(table, out, called="tiny")
    return out


@pytest.fixture
def visit(browser, pages):
    """Open the page offline; the test fails on any request that leaves the disk and on any console error."""
    contexts, problems = [], []

    def open_page(fragment="", width=1280, scheme="light", **settings):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **settings)
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.on("request", lambda r: problems.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        page.on("requestfailed", lambda r: problems.append(f"failed: {r.url}"))
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: problems.append(str(e)))
        page.goto((pages / "index.html").as_uri() + fragment)
        if settings.get("java_script_enabled", True):
            page.wait_for_selector("#rows tr")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_page(visit, width, scheme):
    page = visit(width=width, scheme=scheme)
    page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.evaluate(
        "() => [...document.querySelectorAll('svg.chart text')].map(t => [t.textContent, t.getBoundingClientRect()])"
        ".filter(([, b]) => b.left < -1 || b.right > innerWidth + 1).map(([t]) => t)"
    )
    assert outside == []
    r, g, b = map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor")))
    assert (r + g + b < 150) is (scheme == "dark")


def test_it_opens_at_the_best_and_says_the_runs_behind_it(visit, table):
    page = visit("#task=mlp-wine")
    final = table.final("mlp", ["mlp-wine"])[0].mean(axis=1)
    best = max((v, -c) for c, v in enumerate(final) if v == v)
    shown = int(page.inner_text("#config"))
    assert final[shown] == pytest.approx(best[0], abs=1e-4)
    rows = table.runs("mlp", tasks=["mlp-wine"]).to_pandas()
    mine = rows[rows["config_id"] == shown].sort_values("seed")
    assert [int(c) for c in page.locator("#rows td:first-child").all_inner_texts()] == [0, 1]
    commands = page.locator("#rows code").all_inner_texts()
    assert commands == [f"metabench rerun tiny --run-id {i}" for i in mine["run_id"]]
    valid = [float(t) for t in page.locator("#rows td:nth-child(3)").all_inner_texts()]
    assert valid == pytest.approx([s[-1] for s in mine["valid_score"]], abs=1e-3)
    assert page.locator("#map .config").count() == 64
    assert page.inner_text("#facts").startswith("mlp-wine: family wine, tabular, classification")


def test_the_command_is_copied(visit):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    page.locator("#rows .press").first.click()
    page.wait_for_function("document.querySelector('#rows .press').textContent === 'Copied'")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#rows code").first.inner_text()


def test_a_press_on_a_dot_picks_it_and_the_address_keeps_it(visit):
    page = visit()
    dot = page.locator("#map .config").nth(20)
    x, y = (float(dot.get_attribute(name)) for name in ("cx", "cy"))
    at = page.evaluate(
        "([x, y]) => { const p = new DOMPoint(x, y).matrixTransform(map.getScreenCTM()); return [p.x, p.y] }", [x, y]
    )
    page.mouse.click(*at)
    picked = page.inner_text("#config")
    assert page.eval_on_selector(
        "#chosen", "c => [Number(c.getAttribute('cx')), Number(c.getAttribute('cy'))]"
    ) == pytest.approx([x, y], abs=0.06)
    address = page.url.partition("#")[2]
    assert f"config={picked}" in address
    assert visit(f"#{address}").inner_text("#config") == picked


def test_it_works_by_keyboard_alone(visit):
    page = visit()
    best = page.inner_text("#config")
    page.focus("#map")
    page.keyboard.press("PageDown")
    second = page.inner_text("#config")
    assert second != best and "Place 2 of 64" in page.inner_text("#picked")
    page.keyboard.press("End")
    assert "Place 64 of 64" in page.inner_text("#picked")
    page.keyboard.press("Home")
    assert page.inner_text("#config") == best
    before = page.eval_on_selector("#chosen", "c => Number(c.getAttribute('cx'))")
    page.keyboard.press("ArrowLeft")
    assert page.eval_on_selector("#chosen", "c => Number(c.getAttribute('cx'))") < before
    page.focus("#best-rows tr:nth-child(2) button")
    page.keyboard.press("Enter")
    assert page.inner_text("#config") == second
    page.focus("#workload")
    reached = []
    for _ in range(12):  # every control can be reached, and left again
        reached.append(page.evaluate("document.activeElement.id"))
        page.keyboard.press("Tab")
    assert reached[:7] == ["workload", "task", "x", "y", "measure", "epoch", "map"] and len(set(reached)) > 7


def test_other_tasks_axes_measures_and_epochs(visit):
    page = visit()
    page.select_option("#task", "mlp-digits")
    page.wait_for_function("document.querySelector('#facts').textContent.startsWith('mlp-digits')")
    page.select_option("#y", "beta")
    assert page.locator("#map .gutter").count() == 1 and "beta (lowest strip: inactive)" in page.text_content("#map")
    page.select_option("#measure", "loss")
    assert "training loss" in page.inner_text("#picked")
    worst, best = (float(page.inner_text(f"#ramp-{k}").split()[-1].replace("−", "-")) for k in ("low", "high"))
    assert best < worst
    before = page.inner_text("#ramp-high")
    page.evaluate("epoch.value = 0; epoch.dispatchEvent(new Event('input'))")
    assert page.inner_text("#epoch-text") == "epoch 1" and page.inner_text("#ramp-high") != before
    page.select_option("#measure", "seconds")
    assert page.inner_text("#epoch-text") == "whole runs" and page.is_disabled("#epoch")


def test_without_a_script_it_says_so(visit):
    page = visit(java_script_enabled=False)
    assert "needs JavaScript" in page.inner_text("main") and page.is_hidden("#controls")
