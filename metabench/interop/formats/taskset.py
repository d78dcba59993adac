"""TaskSet (Metz et al., 2020) in the JSON of DyHPO (Wistuba, Kadra & Grabocka, 2022): optimizers on many small networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from metabench.errors import MetabenchError
from metabench.interop.formats.base import (
    Format,
    Rows,
    TaskFacts,
    frame_of,
    identifier,
    infer_space,
    numbers,
    read_json,
)

_SERIES = {"train": "train_loss", "valid": "valid_loss", "test": "test_loss"}


class TaskSet(Format):
    """A file or a folder of files, one task each: ``[{"hp": {…}, "train": {"loss": [51]}, "valid": …, "test": …}]``.

    The score is the validation loss, smaller is better. A loss that is no number is a run that diverged.
    """

    name = "taskset"
    reads = "a JSON file, or a folder of them"

    def read(self, path: Path) -> Iterator[Rows]:
        paths = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not paths:
            raise MetabenchError(f"{path} holds no .json file")
        configs: dict[tuple, int] = {}
        table, tasks, keys, curves = [], [], [], []
        for file in paths:
            name = file.name.removesuffix(".gz").removesuffix(".json")
            tasks.append(TaskFacts(identifier(name), "loss", "min"))
            seen: dict[int, int] = {}
            for number, run in enumerate(read_json(file, list)):
                where = f"{file}: run {number}"
                if not isinstance(run, Mapping) or not isinstance(run.get("hp"), Mapping):
                    raise MetabenchError(f"{where} has no hp")
                key = tuple(sorted((k, v) for k, v in run["hp"].items() if isinstance(v, int | float | str)))
                if key not in configs:
                    configs[key] = len(configs)
                    table.append(dict(key))
                losses = {}
                for part, ours in _SERIES.items():
                    if not isinstance(run.get(part), Mapping) or "loss" not in run[part]:
                        raise MetabenchError(f"{where} has no {part} loss")
                    length = len((curves[0] if curves else losses).get("train_loss", ())) or None
                    losses[ours] = numbers(run[part]["loss"], f"{where}, {part} loss", length)
                repeat = seen.get(configs[key], 0)
                seen[configs[key]] = repeat + 1
                keys.append((len(tasks) - 1, configs[key], repeat))
                curves.append(losses)
        if not curves or len(curves[0]["train_loss"]) == 0:
            raise MetabenchError(f"{path} holds no runs")
        frame = frame_of(table, path)
        task, config, seed = np.array(keys, dtype=np.int64).T
        series = {name: np.stack([c[name] for c in curves]) for name in _SERIES.values()}
        scores = {"valid_score": series["valid_loss"], "test_score": series["test_loss"]}
        if any(
            (losses < 0).any() for losses in series.values()
        ):  # of densities: a score, but no loss as tables have it
            series = {}
        yield Rows(
            workload="taskset",
            space=infer_space(frame),
            configs=frame,
            tasks=tasks,
            task=task,
            config=config,
            seed=seed,
            epochs=range(1, scores["valid_score"].shape[1] + 1),
            series=series | scores,
        )
