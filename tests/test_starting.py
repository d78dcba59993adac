"""What commands do not import: scipy.stats and torch take seconds, which a mistake or a listing need not wait for."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from metabench.ranks import rankdata

HEAVY = ("torch", "scipy.stats", "sklearn", "xgboost")


def loaded(code: str) -> list[str]:
    """Which of HEAVY a fresh interpreter has after some code."""
    code += f"\nimport sys\nprint('loaded', *(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize("module", ["cli", "advise.recommend", "advise.tune", "interop.guide"])
def test_modules_of_commands_are_light(module):
    assert loaded(f"import metabench.{module}") == []


def test_a_mistake_is_told_before_the_readers_are_imported():
    code = (
        "import sys\nfrom metabench.cli import main\n"
        "try:\n    main(['recommend', '--data', '/nowhere.csv', '--target', 'y'])\n"
        "except SystemExit as end:\n    assert end.code == 2\nassert 'pandas' not in sys.modules"
    )
    assert loaded(code) == []


def test_the_doctor_loads_torch_only_where_there_is_a_driver():
    code = (
        "from metabench.training import machine\nmachine.driver = lambda: False\n"
        "import metabench.training\nmetabench.training.driver = lambda: False\n"
        "from metabench.doctor import diagnosis\nfound = {row['item']: row['found'] for row in diagnosis()}\n"
        "assert 'no CUDA device' in found['backend resident on a GPU'], found"
    )
    assert "torch" not in loaded(code)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 200])
def test_ranks_are_those_of_scipy(n):
    rng = np.random.default_rng(n)
    for values in (rng.normal(size=n), rng.integers(0, 1 + n // 3, n).astype(float), np.full(n, -np.inf)):
        np.testing.assert_array_equal(rankdata(values), stats.rankdata(values))
