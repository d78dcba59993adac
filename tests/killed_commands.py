"""Commands that are killed: what each is called with, what it has stored, and when its work is whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

import metabench as mb
from metabench import registry
from metabench.interop.formats.base import store
from metabench.table import load_table, manifest, verify

DATASETS, CONFIGS = 8, 64


@dataclass
class Scene:
    """Inputs of the five commands, and a folder of its own for each round."""

    root: Path

    @cached_property
    def source(self) -> Path:
        """A file of LCBench's format."""
        rng, found = np.random.default_rng(0), {}
        rates = 10 ** rng.uniform(-4, -1, CONFIGS)
        for i in range(DATASETS):
            found[f"set{i}"] = {}
            for c, rate in enumerate(rates):
                ends = 90 - 10 * (np.log10(rate) + 2 + i / 10) ** 2 + rng.normal(0, 0.5)
                points = [10.0, ends / 2, ends * 0.8, ends, ends]
                found[f"set{i}"][str(c)] = {
                    "config": {"learning_rate": rate, "num_layers": 1 + c % 5},
                    "log": {
                        "Train/val_accuracy": points,
                        "Train/test_result": points,
                        "time": [0.0, 1.0, 2.0, 3.0, 3.5],
                    },
                }
        path = self.root / "lcbench.json"
        path.write_text(json.dumps(found))
        return path

    @cached_property
    def table(self):
        """The same as a table, where METABENCH_DATASETS leads."""
        path = self.root / "datasets/hostile/v1"
        store(list(registry.create("formats", "lcbench").read(self.source)), path, "lcbench")
        return load_table(path)

    @cached_property
    def rules(self) -> str:
        sides = {"train": range(4), "valid": range(4, 5), "test": range(5, DATASETS)}
        split = "\n".join(f"{side} = {[f'set{i}' for i in numbers]}" for side, numbers in sides.items())
        return (
            'name = "hostile"\nversion = 1\ntitle = "Killed"\ndataset = "hostile"\ndataset_version = 1\n'
            f'digest = "{self.table.digest_of(["lcbench"])}"\nworkload = "lcbench"\nobjective = "replay"\n'
            f'budget = 10\nseeds = 2\nmarks = [1, 5, 10]\nstarts = ["own"]\n[split]\n{split}\n'
        )

    @cached_property
    def frame(self) -> Path:
        rng = np.random.default_rng(0)
        frame = pd.DataFrame(rng.normal(size=(200, 4)), columns=list("abcd"))
        path = self.root / "rows.csv"
        frame.assign(y=(frame.a > 0).map({True: "yes", False: "no"})).to_csv(path, index=False)
        return path

    def board(self, round_: Path) -> Path:
        folder = round_ / "hostile/v1"
        if not (folder / "board.toml").exists():
            folder.mkdir(parents=True)
            (folder / "board.toml").write_text(self.rules)
        return folder


class Killed:
    """A command. ``round_`` is a folder in which it is called, killed and called again."""

    def __init__(self, scene: Scene, cache: Path):
        self.scene, self.cache = scene, cache

    def begin(self, round_: Path) -> None:
        """Make what the command needs, and take away what would spare it work."""
        round_.mkdir()

    def arguments(self, round_: Path) -> list[str]:
        raise NotImplementedError

    def stored(self, round_: Path) -> set:
        """What later runs may not lose."""
        raise NotImplementedError

    def problems(self, round_: Path) -> list[str]:
        """Why the work is not whole."""
        raise NotImplementedError


class Generate(Killed):
    def begin(self, round_):
        super().begin(round_)
        shutil.rmtree(self.cache / "tasks", ignore_errors=True)

    def arguments(self, round_):
        what = ["--tasks", "mlp-iris", "--configs", "16", "--seeds", "2", "--workers", "1"]
        return ["generate", "--table", str(round_ / "t/v1"), "--workload", "mlp", *what]

    def stored(self, round_):
        if not (round_ / "t/v1/SHA256SUMS").exists() or not load_table(round_ / "t/v1").workloads:
            return set()
        return set(load_table(round_ / "t/v1").runs("mlp", ["run_id"])["run_id"].to_pylist())

    def problems(self, round_):
        return [*verify(round_ / "t/v1"), *_unless(len(self.stored(round_)) == 32, "runs are missing")]


class Tune(Killed):
    def arguments(self, round_):
        what = ["--target", "y", "--trials", "4", "--out", str(round_ / "out")]
        return ["tune", "--data", str(self.scene.frame), *what]

    def stored(self, round_):
        path = round_ / "out/trials.json"
        return (
            {json.dumps(t, sort_keys=True) for t in json.loads(path.read_text())["trials"]} if path.exists() else set()
        )

    def problems(self, round_):
        names = sorted(path.name for path in (round_ / "out").iterdir())
        there = names == ["model", "report.html", "trials.json"] and bool(mb.load_model(round_ / "out"))
        return [
            *_unless(there, f"the folder holds {names}"),
            *_unless(len(self.stored(round_)) == 4, "trials are missing"),
        ]


class Evaluate(Killed):
    def begin(self, round_):
        super().begin(round_)
        self.scene.board(round_)
        shutil.rmtree(self.cache / "cells", ignore_errors=True)

    def arguments(self, round_):
        what = [word for name in ("random", "sobol", "portfolio") for word in ("--method", name)]
        return ["evaluate", "--board", str(self.scene.board(round_)), *what, "--out", str(round_ / "out")]

    def stored(self, round_):
        return {path.name for path in (self.cache / "cells").glob("*.parquet")} | {
            path.name for path in (round_ / "out").glob("*.parquet")
        }

    def problems(self, round_):
        rows = pq.read_table(round_ / "out/traces.parquet")
        seen = {
            (m, t, s) for m, t, s in zip(*(rows[c].to_pylist() for c in ("method", "task_id", "seed")), strict=True)
        }
        names = sorted(path.name for path in (round_ / "out").iterdir())
        return [
            *_unless(len(rows) == len(seen) == 3 * 3 * 2, f"{len(rows)} searches, {len(seen)} of them distinct"),
            *_unless(names == ["traces.parquet"], f"the folder holds {names}"),
        ]


class Build(Killed):
    """On a board with earlier pages, after its traces have changed."""

    def __init__(self, scene: Scene, cache: Path, traces: Path, earlier: Path):
        super().__init__(scene, cache)
        self.traces, self.earlier = traces, earlier

    def begin(self, round_):
        super().begin(round_)
        folder = self.scene.board(round_)
        if self.earlier.exists():
            shutil.copytree(self.earlier, folder, dirs_exist_ok=True)
        shutil.copyfile(self.traces, folder / "traces.parquet")

    def arguments(self, round_):
        return ["leaderboard", "build", "--board", str(self.scene.board(round_))]

    def stored(self, round_):
        """Entries of the board, a folder with all that is in it."""
        folder = self.scene.board(round_)
        return {p.name for p in folder.iterdir() if p.name[0] != "."} if self.earlier.exists() else {"traces.parquet"}

    def problems(self, round_):
        from metabench.workflows import stale

        return stale(str(self.scene.board(round_)))


class Import(Killed):
    def arguments(self, round_):
        return ["import", "lcbench", str(self.scene.source), "--table", str(round_ / "t/v1")]

    def stored(self, round_):
        return set(manifest.read(round_ / "t/v1").items())

    def problems(self, round_):
        made = {path.name for path in (round_ / "t/v1").iterdir()} - {".lock"}
        return [
            *verify(round_ / "t/v1"),
            *_unless(made == {"SHA256SUMS", "tasks.parquet", "configs", "runs"}, f"the folder holds {sorted(made)}"),
            *_unless(load_table(round_ / "t/v1").runs("lcbench", ["seed"]).num_rows == DATASETS * CONFIGS, "rows"),
        ]


def _unless(holds: bool, line: str) -> list[str]:
    return [] if holds else [line]
