"""What docs/optuna.md shows is code that works; what it prints of itself is what it says."""

import re
from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'metabench[optuna]'")
TEXT = (Path(__file__).parents[2] / "docs/optuna.md").read_text()
BLOCKS = re.findall(r"```(python|)\n(.*?)```", TEXT, re.S)


def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    there: dict = {}
    shown = []
    with pytest.warns(UserWarning):  # scikit-learn's: not converged
        for kind, block in BLOCKS:
            if kind == "python":
                exec(compile(block, "docs/optuna.md", "exec"), there)
                shown.append(capsys.readouterr().out)
    assert sum(kind == "python" for kind, _ in BLOCKS) == 6 and len(shown) == 6
    said = [block for kind, block in BLOCKS if not kind and not block.startswith("pip")]
    # scores differ between processors in their last digits; what the sampler says of itself does not
    assert shown[1].splitlines()[1:] == said[0].splitlines()[1:]
    assert shown[5] == said[1]
    assert float(shown[1].split(",")[0].strip("[")) > 0.9
