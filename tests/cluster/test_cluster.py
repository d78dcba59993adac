"""A Ray cluster of three nodes on this machine, nodes killed in mid-work, tables on an S3 server on loopback."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from pyarrow import fs

from metabench import cluster
from metabench.boards import kinds
from metabench.boards.board import load_board
from metabench.errors import MetabenchError
from metabench.evaluation import evaluate
from metabench.evaluation.predict import predict
from metabench.evaluation.ray_cluster import compute_live
from metabench.evaluation.worker import Group
from metabench.generate import execute, generate, plan, ray_cluster
from metabench.table import TableWriter, load_table, lock, rows, verify
from metabench.table.place import place
from metabench.training import resident

ray = pytest.importorskip("ray", reason="Ray is not installed: make test-cluster")
MOTO = next(filter(None, map(shutil.which, (Path(sys.prefix) / "s3/bin/moto_server", "moto_server"))), None)
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(resident.available() is not None, reason=str(resident.available())),
    pytest.mark.timeout(240),
]
TASKS, CONFIGS, SEEDS = ["mlp-iris", "mlp-wine"], 64, 2
TOTAL = len(TASKS) * CONFIGS * SEEDS


@pytest.fixture(scope="module")
def nodes():
    """The cluster; RAY_ADDRESS names it."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80_000_000}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [*sys.path, os.environ.get("PYTHONPATH")])))
        found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
        for _ in range(3):
            found.add_node(num_cpus=1, **small)
        found.wait_for_nodes()
        found.small = small
        patch.setenv("RAY_ADDRESS", found.address)
        yield found
        found.shutdown()


@pytest.fixture
def three(nodes):
    """The cluster with three nodes at work, whatever was killed before."""
    while len(nodes.worker_nodes) < 3:
        nodes.add_node(num_cpus=1, **nodes.small)
    nodes.wait_for_nodes()
    return nodes


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """URI of a bucket on an S3 server on loopback."""
    if MOTO is None:
        pytest.skip("there is no moto_server: make test-cluster")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("s3") / "log").open("wb")
    server = subprocess.Popen([MOTO, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}"),
        ):
            patch.setenv(name, value)
        until(lambda: answers(f"http://127.0.0.1:{port}/moto-api/"))
        store, key = fs.FileSystem.from_uri("s3://tables?allow_bucket_creation=true")
        store.create_dir(key)
        yield "s3://tables"
    server.kill()
    server.wait()


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def until(condition, seconds=150):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it never came to that"
        time.sleep(0.02)


@pytest.fixture
def small_chunks(monkeypatch):
    """Much to share, and a shard for whatever has come."""
    monkeypatch.setattr(plan, "CHUNK_RUNS", 4)
    monkeypatch.setattr(execute, "FLUSH_SECONDS", 0.3)


def stored(path):
    found = place(path) / "SHA256SUMS"
    return [line for line in found.read_bytes().decode().splitlines() if "  runs/" in line] if found.exists() else []


def content(path):
    """All that runs are but for the time they took and the company they had."""
    return rows.ordered(load_table(path).runs("mlp").drop_columns(["seconds", "cohort"]))


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The same runs from processes of this machine, in a folder."""
    path = tmp_path_factory.mktemp("here") / "v1"
    assert generate(path, "mlp", TASKS, n_configs=CONFIGS, n_seeds=SEEDS, workers=2, progress=False).trained == TOTAL
    return path


def job(path):
    return generate(path, "mlp", TASKS, n_configs=CONFIGS, n_seeds=SEEDS, executor="ray", progress=False)


def test_a_node_is_killed_and_the_rows_in_the_bucket_are_those_of_a_local_run(three, bucket, here, small_chunks):
    path, seen = f"{bucket}/campaign/v1", {}

    def kill():
        until(lambda: stored(path))
        three.remove_node(three.worker_nodes.copy().pop(), allow_graceful=False)
        seen["shards"] = stored(path)

    killer = threading.Thread(target=kill)
    killer.start()
    report = job(path)
    killer.join()
    assert all("runs/mlp-" in line for line in seen["shards"]), "it was killed before all was there and merged"
    assert (report.trained, report.failed, report.missing) == (TOTAL, 0, 0)
    assert content(path).equals(content(here))
    assert verify(path) == []
    assert job(path).stored_before == TOTAL


def test_a_generator_beside_another_writer_is_refused(bucket, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.2)
    with TableWriter(f"{bucket}/contested/v1"), pytest.raises(MetabenchError, match=r"being written by process \d+ on"):
        generate(f"{bucket}/contested/v1", "mlp", TASKS, n_configs=2, n_seeds=1, workers=1, progress=False)


def test_a_run_that_kills_its_process_fails_alone(three, tmp_path, monkeypatch):
    real = ray_cluster.train

    def train(job, task_id, config_ids, seeds):  # a nested function goes to the nodes by value
        if 3 in config_ids:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(job, task_id, config_ids, seeds)

    monkeypatch.setattr(ray_cluster, "train", train)
    monkeypatch.setattr(cluster, "RETRIES", 0)
    path = tmp_path / "v1"
    report = generate(path, "mlp", TASKS[:1], n_configs=8, n_seeds=1, executor="ray", progress=False)
    assert (report.trained, report.failed) == (8, 1)
    found = load_table(path).runs("mlp").to_pylist()
    assert {r["config_id"]: r["error"] for r in found if r["status"] == "failed"} == {3: "the worker process died"}
    assert verify(path) == []


SCRIPT = """
import sys
from metabench.generate import execute, plan
execute.FLUSH_SECONDS, plan.CHUNK_RUNS = 0.1, 4
execute.generate(sys.argv[1], "mlp", ["mlp-iris", "mlp-wine"], n_configs=4096, n_seeds=2, executor="ray", progress=False)
"""


def test_an_interrupt_stores_what_has_come(three, here, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    path = tmp_path / "v1"
    process = subprocess.Popen([sys.executable, tmp_path / "script.py", path], stderr=subprocess.PIPE, text=True)
    until(lambda: stored(path))
    errors = ""
    while (
        process.poll() is None
    ):  # one that falls into a callback of Ray's own is lost there: asked again, as people do
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            errors = process.communicate(timeout=5)[1]
    assert process.returncode == -signal.SIGINT and "KeyboardInterrupt" in errors
    found = content(path).to_pylist()
    assert 0 < len(found) < 64 * TOTAL and verify(path) == []  # too many to be done before a signal comes
    whole = content(here).to_pylist()
    assert all(row in whole for row in found if row["config_id"] < 64)


# ---------------------------------------------------------------- evaluation
METHODS = ["random", "portfolio", "gp_mean"]


def without_times(traces):
    return traces.drop_columns(["overhead"])


def test_a_node_is_killed_and_traces_are_those_of_a_local_evaluation(three, monkeypatch):
    board = load_board("few-shot", 1)
    table = load_table(board.dataset, board.dataset_version)
    expected = evaluate(METHODS, board, table, profile="lite")
    compute, killed = kinds.on_ray, []

    def killing(*args):
        for outcome in compute(*args):
            if not killed:
                killed.append(three.remove_node(three.worker_nodes.copy().pop(), allow_graceful=False))
            yield outcome

    monkeypatch.setattr(kinds, "on_ray", killing)
    found = evaluate(METHODS, board, table, profile="lite", executor="ray")
    assert killed and len(three.worker_nodes) == 2
    assert without_times(found).equals(without_times(expected))


def test_searches_in_lockstep_go_task_by_task(three):
    class Bench:  # goes to the nodes by value
        def run(self, groups):
            return [(group, [{"task": groups[0].task_id, "of": len(groups)}], None) for group in groups]

    todo = [Group(method, "own", task, {0: "key"}) for task in ("a", "b") for method in ("m", "n", "lacks")]
    found = list(compute_live(todo, {"lacks": "a package"}, Bench))
    assert sorted((g.task_id, g.method, r[0]["task"], r[0]["of"]) for g, r, _ in found) == [
        (task, method, task, 2) for task in ("a", "b") for method in ("m", "n")
    ]


def test_predictions_are_those_of_this_machine(three):
    board = load_board("predict", 1)
    table = load_table(board.dataset, board.dataset_version)
    found, expected = (predict(["gp_mean"], board, table, observed=[0, 5], executor=e) for e in ("ray", "local"))
    assert without_times(found).equals(without_times(expected))
