"""Files of a board's own folder that are damaged or hold anything: rules, traces, predictions, stored cells."""

import os
import random
import subprocess
import sys
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metabench import schema
from metabench.boards.board import Board, load_board, parse_board
from metabench.evaluation.store import CellStore

RULES = {
    "name": "mine",
    "version": 1,
    "title": "T",
    "dataset": "core",
    "dataset_version": 1,
    "digest": "0" * 64,
    "workload": "mlp",
    "objective": "replay",
    "budget": 10,
    "seeds": 2,
    "marks": [1, 10],
    "starts": ["own"],
    "track": "search",
    "observed": [0, 5],
    "protocol": "metabench",
    "source_configs": 8,
    "profiles": {"lite": {"budget": 5, "seeds": 1, "starts": ["own"]}},
    "split": {"train": ["a"], "valid": [], "test": ["b"]},
    "shift": {"column": "modality", "train": ["tabular"], "valid": [], "test": ["image"]},
}
CORPUS = [
    b"",
    b"\xff",
    b"a = ",
    b"name = " + b"[" * 50_000,
    b"budget = " + b"9" * 5000,
    b"x" + b".y" * 20_000 + b" = 1",
    b"name = 1\nname = 2",
    b'name = "\\u001b[2J"',
    b"\x00" * 100,
    b"[split]\n" * 2,
    b"[[split]]",
    b"[profiles.x]\n[profiles]",
    b'"' + b"\xc3\xa9" * 30_000 + b'" = 1',
]
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.dates()
    | st.sampled_from(["own", "train", "a", "b", "mlp", "*", "[", "live", "predict", "hpob", 10**400]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(sorted(RULES)) | st.text(max_size=8), inner)
    ),
    max_leaves=8,
)


def test_the_rules_are_rules():
    assert isinstance(parse_board({k: v for k, v in RULES.items() if k != "shift"}), Board)


def test_rules_of_a_corpus(tally, tmp_path):
    path = tmp_path / "board.toml"
    for content in CORPUS:
        path.write_bytes(content)
        tally.attempt(repr(content[:40]), partial(load_board, path))
    for make in (
        lambda p: os.mkfifo(p),
        lambda p: p.mkdir(),
        lambda p: p.symlink_to(p),
        lambda p: p.symlink_to("/dev/zero"),
    ):
        path.unlink(missing_ok=True) if not path.is_dir() else path.rmdir()
        make(path)
        tally.attempt("no file", partial(load_board, tmp_path / "board.toml"))


def test_rules_of_any_form(tally, effort):
    @settings(max_examples=effort(400), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(sorted(RULES)), _VALUES, st.booleans())
    def any_form(key, value, inside):
        rules = dict(RULES)
        if inside and isinstance(rules[key], dict):
            rules[key] = rules[key] | {sorted(rules[key])[0]: value}
        elif inside and isinstance(rules[key], list):
            rules[key] = [*rules[key], value]
        else:
            rules[key] = value
        tally.attempt(f"{key} = {value!r:.80}", lambda: parse_board(rules), lambda board: isinstance(board, Board))

    any_form()


ROWS = [
    {
        "method": "m",
        "start": "own",
        "task_id": f"t{i}",
        "seed": 0,
        "config_ids": [1, 2],
        "overhead": [0.5, 0.25],
        "cell": f"k{i}",
    }
    for i in range(20)
]
READ = """
import sys, warnings
from pathlib import Path
from metabench import schema
from metabench.errors import MetabenchError
from metabench.evaluation.predict import read_predictions
from metabench.evaluation.store import read_traces
for path in sys.argv[1:]:
    print(path, end=" ", flush=True)
    try:
        (read_predictions if "predictions" in path else read_traces)(path)
        print("taken", flush=True)
    except MetabenchError as error:
        line = str(error)
        print("refused" if line.isprintable() and len(line) <= 1000 else f"said {line!r}", flush=True)
    except Exception as error:
        print(f"raised {type(error).__name__}: {error}", flush=True)
"""


def test_damaged_traces_and_predictions(tally, effort, tmp_path):
    traces = pa.Table.from_pylist(ROWS, schema.TRACES)
    told = [
        {
            "method": "m",
            "task_id": "t",
            "seed": 0,
            "config_ids": [1],
            "mean": [0.5],
            "std": [1.0],
            "overhead": 0.5,
            "cell": "k",
        }
    ]
    sound = {}
    for name, table in (("traces", traces), ("predictions", pa.Table.from_pylist(told * 20, schema.PREDICTIONS))):
        pq.write_table(table, tmp_path / f"{name}.parquet")
        sound[name] = (tmp_path / f"{name}.parquet").read_bytes()
    paths = []
    for seed in range(effort(150)):
        rng = random.Random(seed)
        name = rng.choice(sorted(sound))
        data = bytearray(sound[name])
        if rng.random() < 0.2:
            data = data[: rng.randrange(len(data))]
        else:
            # the footer, where sizes and types stand, is half of it
            low = rng.choice((0, len(data) - int.from_bytes(data[-8:-4], "little") - 8))
            for _ in range(rng.choice((1, 3, 10))):
                data[rng.randrange(low, len(data))] = rng.randrange(256)
        paths.append(tmp_path / f"{seed}-{name}.parquet")
        paths[-1].write_bytes(data)
    kinds = {
        "struct": pa.array([{"a": 1}] * 20),
        "map": pa.array([[("a", 1)]] * 20, pa.map_(pa.string(), pa.int32())),
        "lists": pa.array([[[1]]] * 20),
        "text": pa.array(["x"] * 20),
        "bytes": pa.array([b"\xff"] * 20),
        "null": pa.nulls(20),
    }
    for kind, column in kinds.items():
        for at, field in enumerate(schema.TRACES.names):
            paths.append(tmp_path / f"{kind}-{field}-traces.parquet")
            pq.write_table(traces.set_column(at, field, column), paths[-1])
    paths.append(tmp_path / "twice-traces.parquet")
    pq.write_table(pa.table([*traces.columns, traces["seed"]], [*traces.schema.names, "seed"]), paths[-1])
    os.mkfifo(tmp_path / "pipe-traces.parquet")
    paths.append(tmp_path / "pipe-traces.parquet")
    left = list(map(str, paths))
    while left:
        env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", READ, *left], capture_output=True, text=True, env=env, check=False)
        lines = done.stdout.splitlines()
        assert lines, done.stderr[-2000:]
        for line in lines:
            path, _, verdict = line.partition(" ")
            tally.verdict(
                f"{os.path.basename(path)}: {verdict or done.returncode}", verdict.split(" ")[0] in ("refused", "taken")
            )
        left = left[len(lines) :]


@pytest.mark.filterwarnings("ignore:.*computed anew")
def test_flipped_bits_of_stored_cells(tally, effort, tmp_path):
    store = CellStore(tmp_path)
    store.write(ROWS)
    (path,) = tmp_path.iterdir()
    sound, keys, rng = path.read_bytes(), [row["cell"] for row in ROWS], random.Random(0)
    for _ in range(effort(400)):
        data = bytearray(sound)
        at = rng.randrange(8 * len(data))
        data[at // 8] ^= 1 << (at % 8)
        path.write_bytes(data)
        tally.verdict(f"bit {at} was taken", CellStore(tmp_path).read(keys).num_rows == 0)
