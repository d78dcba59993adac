"""Pages of `metabench explain` in a browser: offline, without a script, at a phone's and a desk's width, light and dark."""

import pytest
from click.testing import CliRunner

from metabench.cli import main

pytestmark = pytest.mark.site
STARTER = ["--table", "starter"]
PAGES = {
    "importance": ["importance", *STARTER, "--task", "biomed,autompg"],
    "effect": ["effect", "optimizer", "learning_rate", *STARTER, "--task", "biomed"],
    "optimum": ["optimum", *STARTER, "--against", "n_train"],
    "why": ["why", *STARTER, "--task", "biomed"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("explained")
    for name, args in PAGES.items():
        done = CliRunner().invoke(main, ["explain", *args, "--page", str(made / f"{name}.html")])
        assert done.exit_code == 0, done.stderr
    return made


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_fits(browser, folder, name):
    problems: list[str] = []
    for width, scheme in ((360, "dark"), (1280, "light")):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=False
        )
        context.set_offline(True)
        page = context.new_page()
        page.on("request", lambda r: problems.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        page.on("console", lambda m: problems.append(m.text))
        page.goto((folder / f"{name}.html").as_uri())
        context.close()
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page = context.new_page()
        page.goto((folder / f"{name}.html").as_uri())
        page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("svg.chart").count() > 0 and page.locator("h1").count() == 1
        context.close()
        assert problems == []
