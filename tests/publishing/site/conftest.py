"""A browser that is offline, and a small folder of boards with everything published."""

import pytest
from browser import CHROMIUM
from collected import place


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The folder of all boards (``collected.place``), published."""
    from metabench import workflows

    with pytest.MonkeyPatch.context() as patch:
        root = place(tmp_path_factory.mktemp("all"), patch)
        workflows.publish_all()
    return root


@pytest.fixture
def inside(built, monkeypatch):
    """The same, where boards and tables are looked for."""
    monkeypatch.setenv("METABENCH_LEADERBOARDS", str(built))
    monkeypatch.setenv("METABENCH_DATASETS", str(built.parent / "datasets"))
    return built


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def offline(browser):
    """Open a file with the network off; the test fails on any request that leaves the disk or finds nothing there, and on
    whatever the console complains of."""
    contexts, problems = [], []

    def open_page(path, width=1280, scheme="light", **settings):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, **settings)
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.on("request", lambda r: problems.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        page.on("requestfailed", lambda r: problems.append(f"failed: {r.url}"))
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: problems.append(str(e)))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []
