"""The documentation: its links lead somewhere, its snippets run, its reference lists every public name, its words are plain."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import metabench as mb

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
START = sorted((ROOT / "docs/start").glob("*.md"))


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


words = load(ROOT / "tests/words.py")
links = load(ROOT / ".ci/docs.py")


def anchors(page):
    """The ids that headings of a Markdown page get."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    heads = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or found.suffix != ".md" or anchor in anchors(found), target


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    listed = set(re.findall(r"(\S+\.md)$", nav, re.M))
    assert listed == {str(p.relative_to(ROOT / "docs")) for p in PAGES if ROOT / "docs" in p.parents}


def test_the_reference_lists_every_public_name():
    listed = set(re.findall(r"^::: (\S+)$", (ROOT / "docs/reference/api.md").read_text(), re.M))
    assert {f"{module}.{name}" for name, module in public()} <= listed
    assert {f"metabench.{name}" for name in mb._PACKAGES} <= listed
    from metabench import explain

    assert {f"{getattr(explain, name).__module__}.{name}" for name in explain.__all__} <= listed


def public():
    return [(name, getattr(mb, name).__module__) for name in mb._PUBLIC]


@pytest.mark.parametrize("page", START, ids=lambda page: page.stem)
def test_the_snippets_of_an_entrance_run(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    space = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        exec(compile(block, page.name, "exec"), space)


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("[a](../README.md)", "a"),
        ("[a](../leaderboards/search/v2/README.md)", '<a href="../search/v2/site/index.html">a</a>'),
        ("[a](../leaderboards/site/index.html#boards)", '<a href="../site/index.html">a</a>'),
        ("[a](tables.md#seeds)", "[a](tables.md#seeds)"),
        ("[a](https://example.org/x.md)", "[a](https://example.org/x.md)"),
        ("```\n[a](../README.md)\n```", "```\n[a](../README.md)\n```"),
    ],
)
def test_links_out_of_the_documentation_get_an_address(markdown, html, monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    assert links.on_page_markdown(markdown, page=at("results.md"), config=None, files=None) == html


def at(path):
    return SimpleNamespace(file=SimpleNamespace(src_uri=path))


def test_where_the_repository_is_known_its_files_are_linked(monkeypatch, caplog):
    monkeypatch.setenv("GITHUB_REPOSITORY", "some/one")
    found = links.on_page_markdown("[a](../../README.md#cite)", page=at("start/x.md"), config=None, files=None)
    assert found == '<a href="https://github.com/some/one/blob/main/README.md#cite">a</a>'
    assert links.on_page_markdown("[a](../gone.md)", page=at("x.md"), config=None, files=None) == "a"
    assert "which is not there" in caplog.text


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (" ".join(["word"] * 31) + ".", "31 words"),
        ("Regret is .107 here.", "write 0.107"),
        ("It falls by -0.2 here.", "write −0.2"),
        ("These are alike.", "similar"),
        ("What is missing is computed.", "a noun as subject"),
    ],
)
def test_the_check_of_words_finds(text, part):
    (found,) = words.findings(text)
    assert part in found


@pytest.mark.parametrize(
    "text",
    [
        " ".join(["word"] * 30) + ".",
        "Version 3.11 has a regret of 0.107–0.120. See e.g. Table 2.",
        "What is missing?",
        "The files are well-known (see 0.5-version).",
    ],
)
def test_the_check_of_words_lets_pass(text):
    assert list(words.findings(text)) == []


def test_code_and_markup_are_no_sentences():
    text = "A sentence with `code .5` and a [link](x.md).\n\n```\n.5 alike\n```\n\n| a | .5 |\n|---|---|\n"
    assert next(iter(words.markdown(text))).startswith("A sentence with Code and a link.")
    assert ".5" in list(words.markdown(text)) and not any("alike" in t for t in words.markdown(text))
    assert words.page("<p>One <b>thing</b>.</p><pre>.5</pre><svg><text>.7</text></svg><td>Two</td>") == [
        "One thing.",
        "Two",
    ]


@pytest.mark.parametrize(
    "kind", ["README.md", "docs", "CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md", "help", "errors", "api"]
)
def test_words_are_plain(kind):
    assert words.check(kind) == []


def test_the_check_is_a_command():
    done = subprocess.run(
        [sys.executable, ROOT / "tests/words.py", "README.md"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout.strip()) == (0, "")
