"""A table as the page reads it: small scripts, one for each task, since a page from a file may load scripts and nothing else.

Numbers go as base64 of little-endian integers. A score is one of 65,535 steps between the ends of its task's scale (what lies
under the lower one is said to), a loss and a second one of as many steps of its logarithm; the last value stands for none.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from metabench.plain import plain

if TYPE_CHECKING:
    from metabench.table import Table

#: what stands for no number
NONE = 65_535
#: scores that lie further under the median than this many times the best above it are not told apart
TAIL = 20.0
#: one letter for each status; a run that is not stored has a blank
STATUS = {"ok": "o", "diverged": "d", "failed": "f"}


def script(function: str, *arguments: Any) -> bytes:
    """A call as a script. No text in it can end the script or be anything but data."""
    listed = ", ".join(json.dumps(a, ensure_ascii=True, allow_nan=False, separators=(",", ":")) for a in arguments)
    return f"{function}({listed.replace('<', chr(92) + 'u003c')});\n".encode()


def configs(table: Table, workload: str) -> dict[str, Any]:
    """The space of a workload, and its configurations column by column; null where inactive."""
    frame, space = table.configs(workload), table.space(workload)
    columns = {name: [_rounded(v) for v in frame[name]] for name in space}
    return {"space": space.to_json(), "columns": columns, "n": len(frame)}


def _rounded(value: Any) -> Any:
    value = plain(value)
    return float(f"{value:.5g}") if isinstance(value, float) else value


def task(table: Table, workload: str, task_id: str) -> dict[str, Any]:
    """Every run of a task, in the order of configurations, then seeds."""
    columns = ["run_id", "config_id", "seed", "status", "epochs", "seconds", "params"]
    rows = table.runs(workload, columns, [task_id]).to_pandas()
    n, seeds = len(table.configs(workload)), table.n_seeds(workload)
    at = (rows["config_id"] * seeds + rows["seed"]).to_numpy()
    grid = np.array(max(rows["epochs"], key=len, default=[]), dtype=int)
    direction = table.task_info(task_id).direction
    ids, seconds = np.zeros(n * seeds, dtype="<i8"), np.full(n * seeds, np.nan)
    params, status = np.zeros(n, dtype=np.int64), np.full(n * seeds, " ")
    ids[at], seconds[at] = rows["run_id"], rows["seconds"]
    status[at] = [STATUS[s] for s in rows["status"].astype(str)]
    params[rows["config_id"]] = rows["params"].fillna(0)
    scores = [table.curves(workload, [task_id], s)[0].reshape(n * seeds, -1) for s in ("valid_score", "test_score")]
    return {
        "seeds": seeds,
        "epochs": grid.tolist(),
        "status": "".join(status),
        "run_id": _encoded(ids),
        "params": params.tolist(),
        "seconds": logarithmic(seconds),
        "valid": linear(scores[0], direction),
        "test": linear(scores[1], direction),
        "loss": logarithmic(table.curves(workload, [task_id], "train_loss")[0].reshape(n * seeds, -1)),
    }


def linear(values: np.ndarray, direction: str = "max") -> dict[str, Any]:
    """Values in equal steps from ``low`` to ``high``; a tail on the bad side is cut, and ``cut`` says whether."""
    finite = values[np.isfinite(values)].astype(float)
    if not len(finite):
        return {"low": 0.0, "high": 1.0, "cut": False, "data": _encoded(np.full(values.size, NONE, dtype="<u2"))}
    signed = finite if direction == "max" else -finite
    floor = np.median(signed) - TAIL * max(signed.max() - np.median(signed), 1e-9)
    low, high = max(signed.min(), floor), signed.max()
    ends = (low, high) if direction == "max" else (-high, -low)
    first, last = map(float, ends)
    return _stepped(values, first, last, bool(signed.min() < floor))


def logarithmic(values: np.ndarray) -> dict[str, Any]:
    """Positive values in equal steps of their logarithm; what is not positive counts as the smallest that is."""
    positive = values[np.isfinite(values) & (values > 0)]
    if not len(positive):
        return {"low": 0.0, "high": 1.0, "log": True, "data": _encoded(np.full(values.size, NONE, dtype="<u2"))}
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.maximum(values.astype(float), positive.min()))
    return _stepped(logs, float(np.log(positive.min())), float(np.log(positive.max())), False) | {"log": True}


def _stepped(values: np.ndarray, low: float, high: float, cut: bool) -> dict[str, Any]:
    span = high - low if high > low else 1.0
    known = np.isfinite(values)
    steps = np.rint((np.clip(np.where(known, values, low), low, high) - low) / span * (NONE - 1))
    codes = np.where(known, steps, NONE).astype("<u2")
    return {"low": float(f"{low:.9g}"), "high": float(f"{low + span:.9g}"), "cut": cut, "data": _encoded(codes.ravel())}


def _encoded(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()
