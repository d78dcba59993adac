"""What a newcomer does: a package of one class, from installation to a row on the few-shot board, as docs/contributing says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/contributing/metamodel.md").read_text()
CODE = re.search(r'```python\n("""The ranking of the nearest source task.*?)```', TEXT, re.S)[1]
ENTRY_POINT = re.search(r"```toml\n(\[project.entry-points.*?)```", TEXT, re.S)[1]
PROJECT = f"""
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "my-package"
version = "0.1"

{ENTRY_POINT}
[tool.setuptools]
packages = ["my_package"]
"""


@pytest.fixture
def run(tmp_path):
    """Run a command in a folder of its own, with the package installed, a copy of the board and its own cache."""
    project = tmp_path / "project"
    (project / "my_package").mkdir(parents=True)
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "my_package/__init__.py").write_text("")
    (project / "my_package/nearest_task.py").write_text(CODE)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(project)], check=True, capture_output=True)
    board = tmp_path / "leaderboards/few-shot/v1"
    board.mkdir(parents=True)
    shutil.copy(ROOT / "leaderboards/few-shot/v1/board.toml", board)
    env = os.environ | {
        "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{ROOT}",
        "METABENCH_CACHE": str(tmp_path / "cache"),
        "METABENCH_LEADERBOARDS": str(tmp_path / "leaderboards"),
    }

    def command(*words, status=0):
        done = subprocess.run(
            [sys.executable, "-m", "metabench.cli", *words], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == status, done.stderr
        return done

    command.folder = tmp_path
    return command


def test_from_a_package_to_a_row_on_the_board(run):
    rows = json.loads(run("list", "metamodels", "--json").stdout)["rows"]
    assert "nearest_task" in [row["name"] for row in rows]
    board = run.folder / "leaderboards/few-shot/v1"
    run("evaluate", "--board", "few-shot", "--method", "random", "--out", str(board))
    run("evaluate", "--board", "few-shot", "--method", "nearest_task", "--submission", "mine")
    refused = run("submit", "mine", "--check", status=1)
    assert "the placeholder 'your name'" in refused.stderr and len(refused.stderr.splitlines()) == 1
    words = run.folder / "mine/submission.toml"
    words.write_text(words.read_text().replace("your name", "Ada Lovelace"))
    assert run("submit", "mine", "--check").stdout.split()[:2] == ["method", "regret@1"]
    assert not (board / "submissions").exists()
    run("submit", "mine", "--reproduce")
    status = json.loads((board / "submissions/nearest_task/status.json").read_text())["status"]
    assert status in ("reproduced", "confirmed")
    run("leaderboard", "build", "--board", "few-shot")
    readme = (board / "README.md").read_text()
    assert re.search(rf"\| nearest\\_task \| submission, {status} \|", readme), readme[:3000]
    run("leaderboard", "check", "--board", "few-shot")
    forged = run.folder / "mine/submission.toml"
    forged.write_text(forged.read_text() + '\n[claims]\n"regret@5" = 0.0\n')
    refused = run("submit", "mine", status=1)
    assert len(refused.stderr.splitlines()) == 1 and "recomputed: " in refused.stderr
