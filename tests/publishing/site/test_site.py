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
    board, traces, scores, table = scene(budget=100, tasks=12, resamples=20)
    table.tasks["n_rows"] = [500 if i % 3 == 0 else 5000 for i in range(12)]
    build(board, traces, scores, table, out, "metabench evaluate --board fake")
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


def test_the_board_prints_on_at_most_four_pages(visit):
    page = visit()
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) <= 4


def test_print_shows_tables_whole(visit):
    page = visit()
    page.emulate_media(media="print", color_scheme="light")
    assert not page.is_visible(".top nav")
    assert page.eval_on_selector(".scroll", "e => getComputedStyle(e).overflowX") == "visible"


# ---------------------------------------------------------------- without a script
def test_reads_without_a_script(visit):
    page = visit(java_script_enabled=False)
    assert page.locator(".ranking tbody tr:visible").count() == 12
    assert page.locator("svg.regret:visible").count() == 1 and page.locator("#live").is_hidden()
    assert page.locator("#filter").is_hidden() and page.locator("#marks").is_hidden()
    assert page.locator("#compare .unscripted").is_visible()
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
    header = page.locator(".ranking thead th[data-at='50']")
    assert header.get_attribute("aria-sort") is None
    assert page.locator(".ranking thead th[aria-sort=ascending]").inner_text().startswith("Valid regret at")
    index = header.evaluate("h => h.cellIndex")
    for state, reverse in (("ascending", False), ("descending", True)):
        header.get_by_role("button").click()
        assert header.get_attribute("aria-sort") == state
        assert page.locator(".ranking thead th[aria-sort]").count() == 1
        values = [float(t) for t in column(page, f".ranking tbody tr > :nth-child({index + 1})")]
        assert values == sorted(values, reverse=reverse) and len(values) == 12
    page.locator(".ranking thead th").nth(2).get_by_role("button").click()
    assert methods(page) == before
    page.locator(".ranking thead th", has_text="Method").get_by_role("button").click()
    assert methods(page) == sorted(before)


def test_sorting_keeps_empty_cells_last(visit):
    page = visit()
    page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    table = page.locator("table", has=page.locator("th", has_text="Negative transfer")).first
    header = table.locator("thead th", has_text="Negative transfer")
    for _ in range(2):
        header.get_by_role("button").click()
        cells = table.locator("tbody tr > :last-child").all_inner_texts()
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
    page.fill("#filter", "Empirical transfer")
    assert methods(page) == ["empirical_gp"]
    page.fill("#filter", "nothing like this")
    assert methods(page) == []
    page.fill("#filter", "")
    assert len(methods(page)) == 12 and page.inner_text("#count") == ""


def test_start_switch_changes_table_and_charts(visit):
    page = visit()
    page.check("#start-portfolio3", force=True)
    starts = page.eval_on_selector_all(
        ".ranking tbody tr, #curves [data-start], #tasks tr[data-start]",
        "all => [...new Set(all.filter(e => e.offsetParent).map(e => e.dataset.start))]",
    )
    assert starts == ["portfolio3"]


def values(page):
    """Method → regret as the table shows it."""
    cells = page.eval_on_selector_all(
        ".ranking tbody tr",
        "rows => rows.filter(r => r.offsetParent).map(r => [r.dataset.method, r.querySelector('.main b').textContent])",
    )
    return dict(cells)


def test_the_budget_changes_verdict_table_chart_comparison_and_heat_map(visit):
    page = visit()
    seen = {}
    for mark in (1, 10, 50):
        page.check(f"input[name=mark][value='{mark}']", force=True)
        assert page.inner_text("#verdict").startswith(f"After {mark} trial")
        assert page.locator(".ranking caption .at").inner_text() == str(mark)
        shown = column(page, f".ranking td[data-mark='{mark}']")
        assert shown == []  # it is in the main column
        ordered = [float(v.replace("−", "-")) for v in values(page).values()]
        assert ordered == sorted(ordered) and len(ordered) == 12
        heat = page.eval_on_selector("table.heatmap tbody", "b => b.textContent")
        seen[mark] = (page.inner_text("#duel"), heat, page.inner_text("#verdict"))
    assert (
        len(set(seen.values())) == 3
        and len({s[0] for s in seen.values()}) == 3
        and len({s[1] for s in seen.values()}) == 3
    )


def test_sizes_of_tasks_are_filtered_everywhere(visit):
    page = visit()
    before, all_tasks = values(page), page.locator("#tasks .sortable tbody tr:visible").count()
    page.select_option("#task-size", "large")
    kept = page.locator("#tasks .sortable tbody tr:visible").count()
    assert page.locator("#filtered").is_visible()
    held = page.evaluate("JSON.parse(document.getElementById('data').textContent).tasks.filter(t => t[3]).length")
    assert kept == held <= all_tasks and f"on {held} of {all_tasks} tasks" in page.inner_text("#verdict")
    assert f"of {held} tasks" in page.inner_text("#duel") and page.locator("#dots circle").count() == held
    page.click("#reset")
    assert values(page) == before and page.locator("#filtered").is_hidden()


def test_the_statistics_of_the_page_are_those_of_the_board(visit):
    """Over all tasks, what the script computes from tasks is what was published."""
    page = visit()
    found = page.evaluate(
        """() => {
          const wrong = [], everything = held.tasks.map((_, i) => i);
          for (const [start, source] of Object.entries(held.starts)) for (const [m, marks] of Object.entries(source.mean))
            marks.forEach(([value, low, high], k) => {
              const families = familyMeans(everything.map((t) => source.regret[m][t][k]), everything);
              if (Math.abs(trimmed(families, held.cut) - value) > 2e-4) wrong.push([start, m, k]);
              const [a, b] = interval(families, held.cut);
              if (!(a <= value + 2e-4 && value <= b + 2e-4) || low > high) wrong.push([start, m, k, a, b]);
            });
          return wrong;
        }"""
    )
    assert found == []


def test_the_view_survives_a_reload_and_can_be_sent(visit):
    page = visit()
    page.check("input[name=mark][value='25']", force=True)
    page.check("#start-random5", force=True)
    page.check("#kind-transfer", force=True)
    page.check("#scale-linear", force=True)
    page.select_option("select.pick >> nth=1", "tpe")
    page.select_option("#a", "gp")
    page.select_option("#task-size", "large")
    state = page.inner_text("#verdict"), page.inner_text("#duel"), values(page), page.inner_text("#live")
    page.click(".sections >> text=Methods")  # a way inside the page keeps the choice
    address = page.evaluate("location.hash")
    assert "mark=25" in address and "start=random5" in address
    page.reload()
    assert (page.inner_text("#verdict"), page.inner_text("#duel"), values(page), page.inner_text("#live")) == state
    assert page.is_checked("#start-random5") and page.input_value("#a") == "gp" and page.is_checked("#scale-linear")
    page.click("#reset")
    assert page.evaluate("location.hash") == "" and page.inner_text("#verdict") != state[0]


def test_an_address_that_names_nothing_is_the_headline(visit, site):
    page = visit()
    text = page.inner_text("#verdict")
    page.goto((site / "index.html").as_uri() + "#mark=7&start=none&kind=<b>&size=huge&draw=a,b&a=nobody")
    page.reload()
    assert page.inner_text("#verdict") == text


def test_the_script_says_what_the_page_said_without_it(visit):
    still = visit(java_script_enabled=False)
    live = visit()
    assert " ".join(still.inner_text("#verdict").split()) == " ".join(live.inner_text("#verdict").split())
    rows = "rows => rows.filter(r => r.dataset.start === 'own').map(r => r.textContent.replace(/\\s+/g, ' '))"
    assert still.eval_on_selector_all(".ranking tbody tr", rows) == live.eval_on_selector_all(".ranking tbody tr", rows)


def test_chosen_methods_are_drawn(visit):
    page = visit()
    drawn = "all => all.map(g => g.dataset.method)"
    first = page.eval_on_selector_all("#live g[data-method]", drawn)
    assert len(first) == 5 and "random" in first and page.locator("#live .tier").count() <= 1
    page.select_option("select.pick >> nth=0", "tpe")
    now = page.eval_on_selector_all("#live g[data-method]", drawn)
    assert "tpe" in now and len(now) == 5


def test_two_methods_are_compared(visit):
    page = visit()
    page.select_option("#a", "empirical_gp")
    page.select_option("#b", "random")
    text = page.inner_text("#duel")
    won, lost = (int(n) for n in re.search(r"on (\d+) of \d+ tasks, random on (\d+)", text).groups())
    assert won > lost and "empirical_gp is better." in text
    page.select_option("#b", "empirical_gp")
    assert page.inner_text("#duel") == "Choose two different methods."


def test_the_controls_work_from_the_keyboard(visit):
    page = visit()
    page.focus("input[name=mark]:checked")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#verdict").startswith("After 25 trials")
    page.focus("#a")
    before = page.inner_text("#duel")
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#duel") != before


def test_pointing_lights_a_method_everywhere(visit):
    page = visit()
    page.hover(".ranking tr[data-method=gp] th >> visible=true")
    lit = "all => [...new Set(all.map(e => e.dataset.method))]"
    assert page.eval_on_selector_all(".lit", lit) == ["gp"]
    page.hover("h1")
    assert page.locator(".lit, .pointing").count() == 0


def test_a_curve_is_read_under_the_pointer(visit):
    page = visit()
    line = page.locator("#live g[data-method=random] .line").first
    line.scroll_into_view_if_needed()
    x, y = line.evaluate(
        """l => { const p = l.getPointAtLength(l.getTotalLength() * .3), m = l.getScreenCTM();
                  return [p.x * m.a + m.e, p.y * m.d + m.f]; }"""
    )
    page.mouse.move(x, y)
    assert re.match(r"random: 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]$", page.inner_text("#readout"))


# ---------------------------------------------------------------- for those who do not see it
def test_names_and_focus(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.get_by_role("radio", name="Own choice").is_checked()
    assert page.get_by_role("img", name=re.compile("^Valid regret over trials")).count() == 1
    page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    assert page.get_by_role("img", name=re.compile("Critical-difference diagram")).count() == 1
    assert page.get_by_role("table", name=re.compile("^Methods by valid regret after 10 trials")).count() == 1
    assert page.evaluate(UNSAID) == []
    outline = page.locator(".brand").evaluate(
        "e => { e.focus({focusVisible: true}); return getComputedStyle(e).outlineStyle }"
    )
    assert outline == "solid"
