"""What docs/explain.md shows works: its Python from top to bottom, its commands as far as their options."""

import re
import shlex
from pathlib import Path

import click
import pytest

from metabench.cli import main

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/explain.md").read_text()
COMMANDS = re.findall(r"(?:^\$ |`)(metabench explain [^`\n]+)", TEXT, re.M)


def test_the_python_runs_from_top_to_bottom(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    there: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, "docs/explain.md", "exec"), there)
    said = capsys.readouterr().out
    assert "learning_rate" in said and "the best learning_rate" in said and "mlp-biomed" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_such(command):
    _, _, name, *args = shlex.split(command)
    sub = main.commands["explain"].commands[name]
    assert isinstance(sub.make_context(name, args), click.Context)


def test_there_are_commands():
    assert {c.split()[2] for c in COMMANDS} == {"importance", "effect", "optimum", "why"}
