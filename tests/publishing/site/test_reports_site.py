"""The published reports in a browser: offline, without a script, at both widths, legible in light and dark."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "leaderboards/reports"
PAGES = sorted(path.name for path in FOLDER.glob("*.html"))

pytestmark = pytest.mark.site


def visit(browser, name, width, scheme="light", **settings):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **settings)
    context.set_offline(True)
    page, problems = context.new_page(), []
    page.on("request", lambda r: problems.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
    page.on("requestfailed", lambda r: problems.append(f"failed: {r.url}"))
    page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: problems.append(str(e)))
    page.goto((FOLDER / name).as_uri())
    return context, page, problems


def test_there_is_a_page_for_every_report():
    from metabench import registry

    assert {f"{name}.html" for name in registry.builtin("reports")} | {"index.html"} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_a_phone_and_a_desk(browser, name):
    for width, scheme in ((360, "dark"), (1280, "light")):
        context, page, problems = visit(browser, name, width, scheme)
        page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate(
            "() => [...document.querySelectorAll('.drawing > svg:not(.matrix) text')].filter(t => t.getClientRects().length)"
            ".map(t => [t.textContent, t.getBoundingClientRect()])"
            ".filter(([, b]) => b.left < -1 || b.right > innerWidth + 1).map(([t]) => t)"
        )
        assert outside == [] and problems == []
        r, g, b = map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor")))
        assert (r + g + b < 150) is (scheme == "dark")
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_reads_without_a_script_and_its_links_lead_somewhere(browser, name):
    context, page, problems = visit(browser, name, 1280, java_script_enabled=False)
    assert page.locator("h1").is_visible() and problems == []
    links = page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)")
    for link in links:
        path, _, fragment = link.removeprefix("file://").partition("#")
        assert link.startswith("file:") and Path(path).exists(), link
        if fragment and Path(path).parent == FOLDER:
            assert f'id="{fragment}"' in Path(path).read_text(), link
    if name != "index.html":
        assert page.locator("svg.report:visible").count() >= 1 and page.locator("table:visible").count() >= 1
        assert page.locator("pre code").inner_text().startswith(f"metabench report {name.removesuffix('.html')}")
    context.close()
