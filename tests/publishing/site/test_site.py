"""The published page in a browser: offline, from a file, at a phone's and a desk's width, light and dark."""

import re

import pytest
from browser import CONTRAST, ILLEGIBLE, UNSAID

pytestmark = pytest.mark.site

PAGES = ["index.html", "methods/empirical_gp.html", "methods/random.html", "tasks/planted-7.html"]
VIEWS = [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    from published import scene

    from metabench.publishing.boards.build import build

    out = tmp_path_factory.mktemp("board")
    build(*scene(budget=100, tasks=12, resamples=20), out, "metabench evaluate --board fake")
    return out / "site"


@pytest.fixture
def visit(offline, site):
    """Open a page of the board, offline."""
    return lambda name="index.html", *args, **settings: offline(site / name, *args, **settings)


def column(page, selector):
    return page.eval_on_selector_all(
        selector, "cells => cells.filter(c => c.offsetParent).map(c => c.textContent.trim())"
    )


def methods(page):
    return column(page, ".ranking tbody th a")


# ---------------------------------------------------------------- what one sees
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_nothing_is_wider_than_the_page(visit, name, width, scheme):
    page = visit(name, width, scheme)
    page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", PAGES)
def test_chart_text_is_legible_and_inside_the_page_on_a_phone(visit, name):
    page = visit(name, 360)
    assert page.evaluate(ILLEGIBLE) == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(visit, name, scheme):
    page = visit(name, 1280, scheme)
    found = page.evaluate(CONTRAST)
    assert len(found) > 100 and {"A", "TH", "BUTTON", "P", "text"} & {tag for _, tag, _ in found}
    assert [entry for entry in found if entry[2] < 4.5] == []


def test_dark_is_dark_and_light_is_light(visit):
    for scheme, dark in (("light", False), ("dark", True)):
        page = visit(scheme=scheme)
        r, g, b = map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor")))
        assert (r + g + b < 150) is dark


def test_print_shows_tables_whole(visit):
    page = visit()
    page.emulate_media(media="print", color_scheme="light")
    assert not page.is_visible(".top nav")
    assert page.eval_on_selector(".scroll", "e => getComputedStyle(e).overflowX") == "visible"


# ---------------------------------------------------------------- without a script
def test_reads_without_a_script(visit):
    page = visit(java_script_enabled=False)
    assert page.locator(".ranking tbody tr:visible").count() == 12
    assert page.locator("svg.regret:visible").count() == 2
    assert page.locator("#filter").is_hidden()
    page.check("#start-random5", force=True)  # the switches are style sheets only
    assert page.locator(".ranking tbody tr:visible").count() == 12
    assert page.locator(".ranking tbody tr[data-start=random5]").first.is_visible()
    log = page.locator("#curves [data-start=random5] .when-log svg").first
    linear = page.locator("#curves [data-start=random5] .when-linear svg").first
    assert log.is_visible() and linear.is_hidden()
    page.check("#scale-linear", force=True)
    assert linear.is_visible() and log.is_hidden()


# ---------------------------------------------------------------- with it
def test_sorting_sorts_and_says_so(visit):
    page = visit()
    before = methods(page)
    header = page.locator(".ranking thead th", has_text="Mean rank")
    assert header.get_attribute("aria-sort") is None
    assert page.locator(".ranking thead th[aria-sort=ascending]").inner_text().startswith("#")
    index = header.evaluate("h => h.cellIndex")
    for state, reverse in (("ascending", False), ("descending", True)):
        header.get_by_role("button").click()
        assert header.get_attribute("aria-sort") == state
        assert page.locator(".ranking thead th[aria-sort]").count() == 1
        values = [float(t) for t in column(page, f".ranking tbody tr > :nth-child({index + 1})")]
        assert values == sorted(values, reverse=reverse) and len(values) == 12
    page.locator(".ranking thead th").first.get_by_role("button").click()
    assert methods(page) == before
    page.locator(".ranking thead th", has_text="Method").get_by_role("button").click()
    assert methods(page) == sorted(before)


def test_sorting_keeps_empty_cells_last(visit):
    page = visit()
    header = page.locator(".ranking thead th", has_text="Neg.")
    for _ in range(2):
        header.get_by_role("button").click()
        cells = column(page, ".ranking tbody tr > :last-child")
        assert "–" in cells and "–" not in cells[: len([c for c in cells if c != "–"])]


def test_sorting_works_from_the_keyboard(visit):
    page = visit()
    page.locator(".ranking thead th", has_text="Method").get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert methods(page) == sorted(methods(page))


def test_filter_filters_and_counts(visit):
    page = visit()
    page.fill("#filter", "baseline")
    shown = methods(page)
    assert "random" in shown and "empirical_gp" not in shown
    assert page.inner_text("#count") == f"{len(shown)} of 12 methods"
    page.fill("#filter", "Empirical meta-model")
    assert methods(page) == ["empirical_gp"]
    page.fill("#filter", "nothing like this")
    assert methods(page) == []
    page.fill("#filter", "")
    assert len(methods(page)) == 12 and page.inner_text("#count") == ""


def test_start_switch_changes_table_and_charts(visit):
    page = visit()
    page.check("#start-portfolio3", force=True)
    starts = page.eval_on_selector_all(
        ".ranking tbody tr, #curves [data-start], #significance [data-start]",
        "all => [...new Set(all.filter(e => e.offsetParent).map(e => e.dataset.start))]",
    )
    assert starts == ["portfolio3"]


def test_legend_hides_and_shows_a_method(visit):
    page = visit()
    chip = page.locator(".chip[data-method=gp]")
    curve = page.locator("#curves [data-start=own] .when-log g[data-method=gp]").first
    assert curve.is_visible() and chip.get_attribute("aria-pressed") == "true"
    chip.click()
    assert curve.is_hidden() and chip.get_attribute("aria-pressed") == "false"
    assert page.locator(".cd g[data-method=gp]").first.is_visible()
    chip.click()
    assert curve.is_visible()


def test_pointing_lights_a_method_everywhere(visit):
    page = visit()
    page.hover(".chip[data-method=tpe]")
    lit = "all => [...new Set(all.map(e => e.dataset.method))]"
    assert page.eval_on_selector_all(".lit", lit) == ["tpe"]
    assert page.locator("svg.regret.pointing").count() > 0
    page.hover("h1")
    assert page.locator(".lit, .pointing").count() == 0


def test_a_curve_is_read_under_the_pointer(visit):
    page = visit()
    line = (
        page.locator("#curves [data-start=own] .when-log svg.regret").first.locator("g[data-method=random] .line").first
    )
    line.scroll_into_view_if_needed()
    x, y = line.evaluate(
        """l => { const p = l.getPointAtLength(l.getTotalLength() * .6), m = l.getScreenCTM();
                  return [p.x * m.a + m.e, p.y * m.d + m.f]; }"""
    )
    page.mouse.move(x, y)
    assert re.match(r"random: place \d+, 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]$", page.inner_text("#readout"))


# ---------------------------------------------------------------- for those who do not see it
def test_names_and_focus(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.get_by_role("radio", name="Own choice").is_checked()
    assert page.get_by_role("img", name=re.compile("Critical-difference diagram")).count() == 1
    assert page.get_by_role("table", name=re.compile("^Methods by valid regret after 10 trials")).count() == 1
    assert page.evaluate(UNSAID) == []
    outline = page.locator(".brand").evaluate(
        "e => { e.focus({focusVisible: true}); return getComputedStyle(e).outlineStyle }"
    )
    assert outline == "solid"
