"""The meta-model shown in CONTRIBUTING.md is code that works."""

import re
import sys
from pathlib import Path

import numpy as np

from metabench import testing
from metabench.search.base import History, Problem
from metabench.testing import PlantedFamily, synthetic_source

ROOT = Path(__file__).parents[2]


def test_the_shown_metamodel_keeps_the_contract_and_transfers(tmp_path, monkeypatch):
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (tmp_path / "shown_metamodel.py").write_text(re.search(r"```python\n(.*?)```", text, re.S)[1])
    monkeypatch.syspath_prepend(tmp_path)
    import shown_metamodel

    testing.check_metamodel(shown_metamodel.NearestTask)
    family = PlantedFamily(seed=4)
    source = synthetic_source(30, 48, seed=4)
    model = shown_metamodel.NearestTask().fit(source)
    ranks = []
    for task in range(200, 215):
        problem = Problem(source.space, family.info(task), source.configs.reset_index(drop=True), 5)
        scores = np.nan_to_num(family.scores(task, source.configs)[:, 0])
        first = model.start(problem, 0).ask(History())
        ranks.append((scores > scores[first]).mean())
    assert np.mean(ranks) < 0.25  # a random proposal would be at .5
    sys.modules.pop("shown_metamodel")
