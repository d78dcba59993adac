"""The pages over all boards in a browser: offline, from files, at a phone's and a desk's width, light and dark."""

import posixpath
import re
import subprocess
from pathlib import Path

import pytest
from browser import CONTRAST, ILLEGIBLE, UNSAID
from markup import Page

pytestmark = pytest.mark.site

PAGES = [
    "site/index.html",
    "site/methods/index.html",
    "site/methods/portfolio.html",
    "site/workloads/index.html",
    "site/workloads/mlp.html",
    "site/workloads/gan.html",
    "site/tasks/mlp-set00008.html",
    "site/tables/index.html",
    "site/tables/tiny.html",
    "tiny/v1/site/index.html",
    "tiny/v1/site/methods/portfolio.html",
    "tiny/v1/site/tasks/mlp-set00008.html",
    "guess/v1/site/index.html",
]
REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize("name", PAGES)
def test_it_reads_at_every_width_and_in_every_light(offline, built, name):
    for width in (360, 1280):
        for scheme in ("light", "dark"):
            page = offline(built / name, width, scheme)
            page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (width, scheme)
            low = [entry for entry in page.evaluate(CONTRAST) if entry[2] < 4.5]
            assert low == [], (width, scheme)
            if width == 360:
                assert page.evaluate(ILLEGIBLE) == [], scheme
    assert page.evaluate(UNSAID) == []


@pytest.mark.parametrize("name", PAGES)
def test_it_reads_without_a_script_and_on_paper(offline, built, name):
    page = offline(built / name, java_script_enabled=False)
    assert page.locator("main h1").is_visible() and page.locator(".script-only:visible").count() == 0
    assert page.locator("main table:visible, main svg:visible, main ul:visible, main p:visible").count() >= 2
    page.emulate_media(media="print", color_scheme="dark")  # paper is white all the same
    assert [entry for entry in page.evaluate(CONTRAST) if entry[2] < 4.5] == []
    assert page.locator("header nav:visible, .tools:visible, .skip:visible").count() == 0
    for region in page.locator(".scroll").all():
        assert region.evaluate("e => getComputedStyle(e).overflowX") == "visible"


def test_the_way_from_the_front_to_a_task_and_back(offline, built):
    page = offline(built / "site/index.html")
    page.click(".card a:has-text('A board to test with: tiny')")
    assert page.url.endswith("tiny/v1/site/index.html")
    page.click("#tasks tbody th a >> nth=0")
    page.click("text=Its learning curves, landscape and best")
    assert "/site/tasks/mlp-set0" in page.url and page.locator("svg.landscape:visible").count() == 1
    page.click("header >> text=Methods")
    page.click("text=portfolio >> nth=0")
    assert page.locator("h1").inner_text() == "portfolio"
    page.click(".brand")
    assert page.url.endswith("site/index.html") and "Hyperparameters" in page.locator("h1").inner_text()


def test_the_keyboard_reaches_everything_in_its_order(offline, built):
    page = offline(built / "site/methods/index.html")
    wanted = page.evaluate("document.querySelectorAll('a[href], button, input:not([type=radio]), .scroll').length") + 1
    place = "[...document.querySelectorAll('*')].indexOf(document.activeElement)"
    seen = []
    for _ in range(wanted):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(place))
    assert len(set(seen)) == wanted and seen == sorted(seen)
    page.keyboard.press("Tab")
    outline = page.locator(".brand").evaluate(
        "e => { e.focus({focusVisible: true}); return getComputedStyle(e).outlineStyle }"
    )
    assert outline == "solid"


def shown(page):
    return page.eval_on_selector_all(
        ".filterable tbody tr", "rows => rows.filter(r => r.offsetParent).map(r => r.dataset.method)"
    )


def test_methods_are_filtered_by_type_and_words(offline, built):
    page = offline(built / "site/methods/index.html")
    everyone = shown(page)
    page.check("#kind-baseline", force=True)
    assert shown(page) == [m for m in everyone if m in ("random", "sobol", "default", "gp")]
    assert page.inner_text("#count") == f"4 of {len(everyone)} methods"
    page.fill("#filter", "sobol")
    assert shown(page) == ["sobol"] and page.inner_text("#count").startswith("1 of")
    page.check("#kind-all", force=True)
    page.fill("#filter", "")
    assert shown(page) == everyone and page.inner_text("#count") == ""


def test_types_are_chosen_without_a_script(offline, built):
    page = offline(built / "tiny/v1/site/index.html", java_script_enabled=False)
    page.check("#kind-transfer", force=True)
    visible = page.locator(".ranking tbody tr:visible")
    assert visible.count() == 1 and "portfolio" in visible.inner_text()


def test_tasks_are_sorted_and_filtered(offline, built):
    page = offline(built / "site/workloads/mlp.html")
    header = page.locator("#tasks thead th", has_text="Best")
    at = header.evaluate("h => h.cellIndex")
    for reverse in (False, True):
        header.get_by_role("button").click()
        cells = page.eval_on_selector_all("#tasks tbody tr", f"rows => rows.map(r => r.cells[{at}].textContent.trim())")
        values = [float(text.replace("−", "-")) for text in cells]
        assert values == sorted(values, reverse=reverse) and len(values) == 12
        assert header.get_attribute("aria-sort") == ("descending" if reverse else "ascending")
    page.fill("#filter", "regression")
    assert 0 < len(shown(page)) < 12 and page.inner_text("#count") == f"{len(shown(page))} of 12 tasks"


def test_the_front_page_answers_a_practitioner(offline, built):
    page = offline(built / "site/index.html", 360)
    assert page.locator("a.button").all_inner_texts() == ["Tune my model", "Benchmark my method"]
    assert "metabench tune" in page.inner_text("#which") and page.locator("#which tbody tr").count() >= 6
    assert all(":" in text for text in page.locator("#findings .caveat").all_inner_texts())
    dashed = page.eval_on_selector_all(
        "svg.regret .grid, svg.regret .axis, svg.regret text",
        "all => all.filter(e => getComputedStyle(e).strokeDasharray !== 'none').length",
    )
    assert dashed == 0


# ---------------------------------------------------------------- what is committed
@pytest.fixture(scope="module")
def committed():
    root = REPOSITORY / "leaderboards"
    return root, {p.relative_to(root).as_posix(): Page(p.read_text()) for p in sorted(root.rglob("*.html"))}


def test_every_link_of_the_committed_pages_leads_somewhere(committed):
    root, pages = committed
    wrong = []
    for name, page in pages.items():
        for link in page.links:
            path, _, fragment = link.partition("#")
            # documents lie outside the folder of boards
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
            if link.startswith(("https://", "data:")):
                continue
            if not (root / target).is_file() or (fragment and target in pages and fragment not in pages[target].ids):
                wrong.append(f"{name}: {link}")
    assert wrong == [] and len(pages) > 300


def test_the_committed_pages_are_of_modest_size(committed):
    root, _ = committed
    sizes = {
        f: sum(p.stat().st_size for p in f.rglob("*") if p.is_file()) for f in [root / "site", *root.glob("*/v*/site")]
    }
    assert sizes.pop(root / "site") < 10e6 and max(sizes.values()) < 6e6


@pytest.mark.parametrize(
    "name", ["site/index.html", "site/tasks/mlp-digits.html", "site/workloads/mlp.html", "search/v2/site/index.html"]
)
@pytest.mark.parametrize("width", [360, 1280])
def test_committed_pages_fit(offline, name, width):
    page = offline(REPOSITORY / "leaderboards" / name, width)
    page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(UNSAID) == []


def test_what_is_served_holds_together(tmp_path):
    subprocess.run([REPOSITORY / ".ci/pages", tmp_path / "served"], check=True)
    for name in ("index.html", "site/index.html", "search/v2/site/index.html", "few-shot/v2/site/index.html"):
        for link in Page((tmp_path / "served" / name).read_text()).links:
            if not link.startswith(("https://", "data:", "#")):
                target = (tmp_path / "served" / name).parent / link.partition("#")[0]
                assert target.is_file(), f"{name} links to {link}"
    again = subprocess.run([REPOSITORY / ".ci/pages", tmp_path / "served"], capture_output=True, text=True)
    assert again.returncode == 1 and "is not empty" in again.stderr


def test_the_workflow_pins_what_it_uses_and_grants_little():
    text = (REPOSITORY / ".github/workflows/pages.yml").read_text()
    uses = re.findall(r"uses: (\S+)", text)
    assert len(uses) == 4 and all(re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", use) for use in uses)
    top, deploy = text.split("  deploy:")
    assert "contents: read" in top and "write" not in top
    assert re.findall(r"(\S+): write", deploy) == ["pages", "id-token"] and "run:" not in deploy
    assert "metabench leaderboard build --all --check" in top and ".ci/pages build/pages" in top
