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


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import meta_sampler

    return meta_sampler


def test_the_table_is_that_of_the_results(benchmark):
    import pandas as pd

    inside = TEXT[TEXT.index(benchmark.BEGIN) + len(benchmark.BEGIN) : TEXT.index(benchmark.END)]
    assert inside == benchmark.summary()
    found, others = pd.read_csv(benchmark.RESULTS), pd.read_csv(benchmark.practitioner.RESULTS)
    counts = found.groupby(["task_id", "seed"])["arm"].nunique()
    assert (counts == 1 + len(benchmark.BESIDE)).all() and len(counts) == 40
    both = found.merge(others, on=["task_id", "seed", "arm"], suffixes=("", "_published"))
    assert len(both) == 40 * len(benchmark.BESIDE)
    assert (both["test_regret"] - both["test_regret_published"]).abs().max() < 1e-5


def test_the_study_asks_for_what_an_objective_would(benchmark):
    """Its first trial is the opening's, a diverged one is told as failed, and each is a configuration of the space."""
    import metabench as mb
    from metabench.search.base import Problem
    from metabench.search.continuous import Trials

    model = mb.load_metamodel("mlp-v1")
    task = mb.load_table("core", 1).task_info("mlp-wine")
    study = benchmark.Study().start(Problem(model.space, task, model.configs, 10), 0)
    made, scores = [], []
    for score in (0.8, float("nan"), 0.9):
        made.append(study.suggest_config(Trials(model.space.table(made), scores)))
        model.space.validate(made[-1])
        scores.append(score)
    assert made[0]["learning_rate"] == pytest.approx(model.top_configs(task, 1)["learning_rate"].iloc[0])
    assert [t.state.name for t in study._study.trials] == ["COMPLETE", "FAIL", "RUNNING"]
