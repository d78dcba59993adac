"""AlgoPerf (Dahl et al., 2023, "Benchmarking Neural Network Training Algorithms"): a folder of trial logs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from metabench.errors import MetabenchError
from metabench.interop.formats.base import (
    Format,
    Rows,
    TaskFacts,
    frame_of,
    identifier,
    infer_space,
    read_bytes,
    read_json,
)

#: the validation metric of a workload, in the order in which they are looked for, and its direction
_METRICS = (
    ("validation/accuracy", "max"),
    ("validation/ssim", "max"),
    ("validation/bleu", "max"),
    ("validation/mean_average_precision", "max"),
    ("validation/wer", "min"),
    ("validation/loss", "min"),
)


class AlgoPerf(Format):
    """``study_<k>/<workload>/trial_<j>/{hparams.json, eval_measurements.csv}``: a study is a seed, a workload a task.

    Trials are told apart by their hyperparameters. A task has as many checkpoints as its shortest trial; the score is its
    validation metric (accuracy, SSIM, BLEU, mAP, word error rate or loss).
    """

    name = "algoperf"
    reads = "a folder of study_*"

    def read(self, path: Path) -> Iterator[Rows]:
        logs = sorted(path.glob("study_*/*/trial_*/eval_measurements.csv"))
        if not logs:
            raise MetabenchError(f"{path} holds no study_*/<workload>/trial_*/eval_measurements.csv")
        table, keys, configs = [], [], {}
        frames, metrics = [], {}
        tasks = sorted({log.parts[-3] for log in logs})
        studies = sorted({log.parts[-4] for log in logs})
        for log in logs:
            hyperparameters = read_json(log.with_name("hparams.json"))
            flat = {k: v for k, v in hyperparameters.items() if isinstance(v, int | float | str)}
            key = tuple(sorted(flat.items()))
            if key not in configs:
                configs[key] = len(configs)
                table.append(flat)
            frame, task = _measurements(log), tasks.index(log.parts[-3])
            metrics.setdefault(task, next((m for m in _METRICS if m[0] in frame), None))
            if metrics[task] is None or metrics[task][0] not in frame:
                raise MetabenchError(f"{log} has none of the columns {', '.join(m for m, _ in _METRICS)}")
            keys.append((task, configs[key], studies.index(log.parts[-4])))
            frames.append(frame)
        task, config, seed = np.array(keys, dtype=np.int64).T
        lengths = np.array(
            [min(len(f) for f, t in zip(frames, task, strict=True) if t == i) for i in range(len(tasks))]
        )
        score, seconds = np.full((len(frames), lengths.max()), np.nan), np.full(len(frames), np.nan)
        for i, frame in enumerate(frames):
            n = lengths[task[i]]
            score[i, :n] = frame[metrics[task[i]][0]].to_numpy(dtype=np.float64)[:n]
            if "accumulated_submission_time" in frame:
                seconds[i] = frame["accumulated_submission_time"].iloc[n - 1]
        frame = frame_of(table, path)
        yield Rows(
            workload="algoperf",
            space=infer_space(frame),
            configs=frame,
            tasks=[
                TaskFacts(identifier(name), identifier(metrics[i][0].split("/")[1]), metrics[i][1])
                for i, name in enumerate(tasks)
            ],
            task=task,
            config=config,
            seed=seed,
            epochs=range(1, int(lengths.max()) + 1),
            series={"valid_score": score},
            seconds=seconds,
            lengths=lengths,
        )


def _measurements(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(io.BytesIO(read_bytes(path)))
    except (ValueError, pd.errors.ParserError) as error:
        raise MetabenchError(f"{path} is no CSV: {str(error).splitlines()[0]}") from None
    if not len(frame):
        raise MetabenchError(f"{path} holds no measurement")
    for name in [*(m for m, _ in _METRICS), "accumulated_submission_time"]:
        if name in frame and not pd.api.types.is_numeric_dtype(frame[name]):
            raise MetabenchError(f"{path}: column {name} holds what is no number")
    return frame
