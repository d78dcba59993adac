"""A folder as the repository has it, in small: tables that were never trained, boards on them, and no results of one."""

import json

from metabench import load_table, workflows
from metabench.table import synthetic

RULES = """
name = "{name}"
version = 1
title = "A board to test with: {name}"
dataset = "tiny"
dataset_version = 1
digest = "{digest}"
workload = "mlp"
budget = {budget}
seeds = 2
starts = {starts}
{more}

[split]
train = ["family00000", "family00001", "family00002"]
valid = ["family00003"]
test = ["family00004", "family00005"]
"""
BOARDS = {
    "tiny": (8, '["own", "random5"]', ""),
    "short": (3, '["own"]', ""),
    "guess": (5, '["own"]', 'track = "predict"\nobserved = [0, 5]'),
    "empty": (4, '["own"]', ""),
}
METHODS = {
    "tiny": ("random", "sobol", "portfolio", "default"),
    "short": ("random", "portfolio"),
    "guess": ("quadratic", "gp"),
}
DOCS = {
    "title": "Workloads: what they reach",
    "sections": [
        {"name": "", "blocks": [{"text": "A section a workload."}]},
        {
            "name": "mlp",
            "blocks": [
                {"text": "Accuracy, `higher` is **better** & <so>."},
                {"columns": ["data set", "chance", "linear"], "rows": [["set00001", "0.400", "0.812"]]},
                {"text": "`metabench reference mlp`"},
            ],
        },
    ],
}


def place(folder, patch):
    """Make it below ``folder``, the working folder from then on; the folder of all boards."""
    patch.chdir(folder)
    patch.setattr("metabench.tasks.cache_dir", lambda: folder / "cache")
    patch.setenv("METABENCH_LEADERBOARDS", str(folder / "leaderboards"))
    patch.setenv("METABENCH_DATASETS", str(folder / "datasets"))
    synthetic.write(folder / "datasets/tiny/v1", tasks=12, configs=32, seeds=2)
    synthetic.write(folder / "datasets/large/v1", tasks=3, configs=64, seeds=2, workload="text")
    digest = load_table("tiny").digest_of(["mlp"])
    for name, (budget, starts, more) in BOARDS.items():
        rules = folder / f"leaderboards/{name}/v1/board.toml"
        rules.parent.mkdir(parents=True)
        rules.write_text(RULES.format(name=name, digest=digest, budget=budget, starts=starts, more=more))
        if name == "guess":
            workflows.predict_board(name, METHODS[name], out=rules.parent)
        elif name in METHODS:
            workflows.evaluate_board(name, METHODS[name], out=rules.parent)
    (folder / "docs").mkdir()
    (folder / "docs/workloads.json").write_text(json.dumps(DOCS))
    return folder / "leaderboards"
