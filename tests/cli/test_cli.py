"""The command line as a person meets it: help, JSON, one-line mistakes, exit statuses."""

import json
import os
import subprocess
import sys

import pytest

from metabench.cli import main

COMMANDS = [
    "benchmark",
    "card",
    "check",
    "doctor",
    "evaluate",
    "generate",
    "leaderboard",
    "list",
    "plan",
    "rerun",
    "verify",
]


def run(*args, **environment):
    """Status, stdout and stderr of a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "metabench.cli", *args],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout, done.stderr


def fails(status, *args, says):
    code, _, err = run(*args)
    assert code == status, err
    assert err.startswith("metabench: ") and err.count("\n") == 1 and "Traceback" not in err
    assert says in err


def test_every_command_has_help():
    assert sorted(main.commands) == COMMANDS
    for command in main.commands.values():
        assert command.help or command.short_help
    code, out, _ = run("--help")
    assert code == 0 and all(command in out for command in COMMANDS)
    assert run("leaderboard", "build", "--help")[0] == 0


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom metabench.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'xgboost', 'sklearn', 'pandas', 'numpy', 'pyarrow', 'scipy'} & set(sys.modules)\n"
        "sys.exit(','.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "what", ["sources", "tasks", "workloads", "spaces", "metamodels", "baselines", "tables", "boards"]
)
def test_lists_are_json(what):
    code, out, err = run("list", what, "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert answer["schema"] == 1 and answer["what"] == what and answer["rows"]


def test_doctor_is_json():
    code, out, _ = run("doctor", "--json")
    assert code == 0 and {"torch", "backend batched"} <= {row["item"] for row in json.loads(out)["rows"]}


def test_wrong_usage_is_one_line_and_status_2(tmp_path):
    fails(2, "lst", says="did you mean 'list'")
    fails(2, "list", "taskz", says="did you mean 'tasks'")
    fails(2, "generate", "--table", str(tmp_path / "t/v1"), "--tasks", "irsi", says="did you mean 'mlp-iris'")
    fails(2, "generate", "--table", str(tmp_path / "t/v1"), "--tasks", "iris", "--budget", "soon", says="9m")
    fails(2, "generate", "--table", str(tmp_path / "t/v1"), "--tasks", "iris", "--configs", "many", says="many")
    fails(2, "generate", "--table", "../up", "--backend", "bached", "--tasks", "iris", says="did you mean 'batched'")
    fails(2, "evaluate", "--board", "serach", says="did you mean 'search'")
    fails(2, "evaluate", "--method", "portfolo", says="did you mean 'portfolio'")
    fails(2, "verify", "startr", says="did you mean 'starter'")
    fails(2, "check", "nothing:Here", says="nothing")


def test_failures_are_one_line_and_status_1(tmp_path):
    folder = tmp_path / "bad" / "v1"
    (folder / "runs").mkdir(parents=True)
    (folder / "runs/mlp.parquet").write_bytes(b"not parquet")
    (folder / "SHA256SUMS").write_text("0" * 64 + "  runs/mlp.parquet\n")
    fails(1, "verify", str(folder), says="problem")
    blocked = tmp_path / "file"
    blocked.write_text("")
    fails(1, "generate", "--table", str(blocked / "t/v1"), "--tasks", "iris", says="cannot be written")


def test_generate_plan_verify_rerun(tmp_path):
    table = str(tmp_path / "mine" / "v1")
    options = ["--table", table, "--tasks", "iris", "--configs", "4", "--seeds", "1"]
    code, out, _ = run("plan", *options, "--json")
    assert code == 0 and json.loads(out)["rows"][0]["missing"] == 4
    code, out, err = run("generate", *options, "--json")
    assert code == 0, err
    assert json.loads(out)["rows"][0]["trained"] == 4
    code, out, err = run("generate", *options, "--budget", "0s", "--seeds", "2")
    assert code == 3 and "resumes" in err
    assert run("verify", table)[0] == 0
    code, out, err = run("rerun", table, "--sample", "2", "--json")
    assert code == 0 and json.loads(out)["rows"][0]["equal"] == 2, err
    assert run("card", table)[0] == 0
    assert run("card", table, "--check")[0] == 0
    (tmp_path / "mine/v1/README.md").write_text("changed")
    fails(1, "card", table, "--check", says="stale")
