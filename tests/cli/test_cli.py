"""The command line as a person meets it: help, JSON, one-line mistakes, exit statuses."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from metabench.cli import main
from metabench.cli.group import Commands
from metabench.cli.termination import Terminated
from metabench.errors import IncompleteError, MetabenchError, UsageError
from metabench.plain import plain

COMMANDS = [
    "benchmark",
    "card",
    "check",
    "doctor",
    "elites",
    "evaluate",
    "explain",
    "explore",
    "export",
    "fetch",
    "generate",
    "import",
    "leaderboard",
    "list",
    "merge",
    "plan",
    "pretrain",
    "publish",
    "recommend",
    "reference",
    "repair",
    "report",
    "rerun",
    "results",
    "settings",
    "speed",
    "submit",
    "tune",
    "verify",
]
PATHS = [[name] for name in COMMANDS] + [
    ["leaderboard", "build"],
    ["leaderboard", "check"],
    ["results", "rank"],
    ["results", "write"],
    *(["explain", name] for name in ("importance", "effect", "optimum", "why")),
]
HEAVY = {"torch", "xgboost", "sklearn", "pandas", "numpy", "pyarrow", "scipy", "rich"}


def run(*args, cli=main):
    """Status, stdout and stderr of a command."""
    done = CliRunner().invoke(cli, [str(a) for a in args])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def fails(status, *args, says, cli=main):
    """A mistake is told in one line on stderr, with its exit status."""
    code, out, err = run(*args, cli=cli)
    assert (code, out) == (status, ""), err
    assert err.startswith("metabench: ") and err.count("\n") == 1 and "Traceback" not in err
    assert says in err


# -------------------------------------------------------------------- help
def test_the_commands_are_these():
    assert sorted(main.commands) == COMMANDS
    assert sorted(main.commands["explain"].commands) == ["effect", "importance", "optimum", "why"]
    assert sorted(main.commands["leaderboard"].commands) == ["build", "ceiling", "check", "new", "rekey"]
    assert sorted(main.commands["results"].commands) == ["rank", "write"]


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_and_option_has_help(path, flag):
    code, out, err = run(*path, flag)
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: main {' '.join(path)}")
    command = main
    for name in path:
        command = command.commands[name]
    assert command.help
    assert all(p.help for p in command.params if isinstance(p, click.Option))


def test_no_arguments_show_the_help_as_it_stands():
    code, _, err = run()
    assert code == 2 and "\n  benchmark " in err and "Exit status: 0 done" in err


@pytest.mark.parametrize("args", [["--help"], ["generate", "--help"], ["--version"], ["nonsense"]])
def test_looking_loads_nothing_heavy(args):
    code = (
        f"import sys\nfrom metabench.cli import main\ntry:\n    main({args!r})\nexcept SystemExit:\n    pass\n"
        "print('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.splitlines()[-1].split()) == set()


def test_the_module_is_the_command_too():
    done = subprocess.run([sys.executable, "-m", "metabench.cli", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("metabench, version ")


def test_names_complete_in_the_shell():
    """What bash asks for after `metabench check portf<TAB>`."""
    ask = {"_METABENCH_COMPLETE": "bash_complete", "COMP_WORDS": "metabench check portf", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "metabench.cli"], capture_output=True, text=True, env={**os.environ, **ask}
    )
    assert done.stdout.split() == ["plain,portfolio"], done.stderr


# -------------------------------------------------------------------- listings
def test_an_absent_peer_is_reported_absent(monkeypatch):
    """In one line each, wherever a person meets it; nothing takes its place."""
    from metabench import registry

    monkeypatch.setattr(registry.load("baselines", "smac"), "requires", ("smac_is_away",))
    rows = {row["name"]: row for row in json.loads(run("list", "baselines", "--json")[1])["rows"]}
    assert rows["smac"]["absent"] == "needs smac_is_away, which is not installed" and rows["random"]["absent"] is None
    assert rows["smac"]["what"].startswith("Sequential model-based algorithm configuration by SMAC3 (Lindauer")
    fails(1, "check", "smac", says="smac needs smac_is_away, which is not installed")
    fails(2, "speed", "--methods", "smac", says="method 'smac' needs smac_is_away, which is not installed")
    fails(2, "speed", "--methods", "smac", "--job", "digits", says="trains nothing")
    fails(2, "speed", "--methods", "asha", says="trains configurations in parts")
    fails(2, "speed", "--methods", "smaac", says="did you mean 'smac'?")


def test_a_boards_ceiling():
    code, out, _ = run("leaderboard", "ceiling", "--json")
    rows = {(r["bound"], r["mark"]): r for r in json.loads(out)["rows"]}
    assert code == 0 and len(rows) == 4 * 7
    assert all(r["low"] <= r["valid_regret"] <= r["high"] for r in rows.values())
    assert len(run("leaderboard", "ceiling")[1].splitlines()) == 5
    fails(2, "leaderboard", "ceiling", "--board", "multi-fidelity", says="bounds are for one workload")


def test_methods_are_timed():
    code, out, _ = run("speed", "--methods", "random, default", "--repeats", "1", "--json")
    rows = json.loads(out)["rows"]
    assert code == 0 and [row["method"] for row in rows] == ["random", "default"]
    assert all(row[key] > 0 for row in rows for key in ("fit", "start", "last", "mean", "worst"))
    later = json.loads(out)["continuous"]
    assert [(row["method"], row["trials"]) for row in later] == [
        (m, n) for m in ("random", "default") for n in (50, 1000)
    ]
    assert all(row[key] >= 0 for row in later for key in ("resume ms", "next ms", "worst ms"))


@pytest.mark.parametrize(
    ("what", "has"),
    [
        ("sources", {"name": "bundled", "data_sets": 5}),
        ("tasks", {"task": "mlp-iris", "workload": "mlp"}),
        ("workloads", {"name": "mlp"}),
        ("spaces", {"workload": "mlp", "hyperparameter": "learning_rate", "scale": "log", "default": 0.001}),
        ("metamodels", {"name": "portfolio"}),
        ("baselines", {"name": "random"}),
        ("tables", {"name": "starter", "version": 1}),
        ("boards", {"name": "search", "version": 2, "table": "core v1"}),
    ],
)
def test_lists(what, has):
    code, out, err = run("list", what, "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert answer["schema"] == 1 and answer["what"] == what
    assert any(has.items() <= row.items() for row in answer["rows"])
    code, text, _ = run("list", what)
    assert code == 0 and len(text.splitlines()) == 1 + len(answer["rows"])


@pytest.mark.parametrize("damage", ["cut off", "absent", "scribbled on"])
def test_a_damaged_table_is_one_line_and_hides_no_other(tmp_path, monkeypatch, damage):
    bad = tmp_path / "bad/v1"
    shutil.copytree(Path(__file__).parents[2] / "datasets/starter/v1", bad, ignore=shutil.ignore_patterns("runs"))
    if damage == "scribbled on":
        (bad / "SHA256SUMS").write_bytes(b"\xff\x00")
    elif damage == "absent":
        (bad / "tasks.parquet").unlink()
    else:
        (bad / "tasks.parquet").write_bytes((bad / "tasks.parquet").read_bytes()[:99])
    monkeypatch.setenv("METABENCH_DATASETS", str(tmp_path))
    code, out, err = run("list", "tables", "--json")
    assert code == 1 and err.count("\n") == 1 and err.startswith(f"metabench: table {bad}/") and "Traceback" not in err
    assert "starter" in [row["name"] for row in json.loads(out)["rows"]]


def test_doctor_knows_versions_backends_and_settings(monkeypatch):
    monkeypatch.setenv("METABENCH_DATA", "/somewhere")
    code, out, _ = run("doctor", "--json")
    found = {row["item"]: row["found"] for row in json.loads(out)["rows"]}
    assert code == 0
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["backend batched"] == "usable"
    assert found["METABENCH_DATA"] == "/somewhere"
    assert {"torch (optional)", "botorch (optional)", "gpu", "c++ compiler", "cache folder"} <= set(found)


def test_json_is_json_whatever_it_is_given():
    import numpy as np

    given = {"a": np.float32(0.5), "b": np.nan, "c": [np.int64(3), float("inf")], "d": np.bool_(True), "e": None}
    assert plain(given) == {"a": 0.5, "b": None, "c": [3, None], "d": True, "e": None}


# -------------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["lst"], "unknown command 'lst'; did you mean 'list'?"),
        (["leaderboard", "biuld"], "did you mean 'build'?"),
        (["list"], "Missing argument"),
        (["list", "taskz"], "unknown listing 'taskz'; did you mean 'tasks'?"),
        (["list", "tasks", "--jsn"], "--json"),
        (["generate"], "Missing option '--table'"),
        (["generate", "--table", "t/v1", "--tasks", "irsi"], "did you mean 'mlp-iris'?"),
        (["generate", "--table", "t/v1", "--tasks", "iris", "--workload", "mpl"], "did you mean 'mlp'?"),
        (["generate", "--table", "t/v1", "--tasks", "iris", "--backend", "bached"], "did you mean 'batched'?"),
        (["generate", "--table", "t/v1", "--budget", "soon"], "'soon' is no duration; write 90s, 9m or 2h"),
        (["generate", "--table", "t/v1", "--configs", "many"], "'many' is not a valid integer"),
        (["generate", "--table", "t/v1", "--device", "tpu"], "'tpu'"),
        (["generate", "--table", "No Such!"], "a name is made of a-z, 0-9, _ and -"),
        (["plan", "--table", "t/v1", "--configs", "-4"], "-4 is not in the range"),
        (["plan", "--table", "t/v1", "--seeds", "0"], "0 is not in the range"),
        (["verify", "startr"], "did you mean 'starter'?"),
        (["verify", "nowhere/at/all"], "nowhere/at/all is no table"),
        (["rerun", "starter", "--run-id", "1"], "has no row with run_id 1"),
        (["card", "startr"], "did you mean 'starter'?"),
        (["evaluate", "--board", "serach"], "did you mean 'search'?"),
        (["evaluate", "--method", "portfolo"], "did you mean 'portfolio'?"),
        (["evaluate", "--profile", "lit"], "did you mean 'lite'?"),
        (["leaderboard", "build", "--board", "serach"], "did you mean 'search'?"),
        (["check", "portfolo"], "did you mean 'portfolio'?"),
        (["check", "nothing_there:Mine"], "No module named 'nothing_there'"),
        (["check", "json:Nothing"], "no attribute 'Nothing'"),
        (["check", "json:JSONDecoder"], "neither a Searcher nor a Workload"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_and_status_2(args, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails(2, *args, says=says)
    assert list(tmp_path.iterdir()) == [], "a mistake leaves nothing behind"


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UsageError("wrong"), 2, "wrong"),
        (MetabenchError("failed\nsomewhere"), 1, "failed somewhere"),
        (IncompleteError("3 runs are missing"), 3, "3 runs are missing"),
        (KeyboardInterrupt(), 130, "interrupted; the same command resumes"),
        (Terminated(), 143, "interrupted; the same command resumes"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), 1, "/data/x: No space left on device"),
        (OSError(errno.EROFS, "Read-only file system", "/data/x"), 1, "/data/x: Read-only file system"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), 1, "/data/x: Permission denied"),
        (MemoryError(), 1, "out of memory; fewer --workers need less"),
        (KeyError("x"), 1, "unexpected KeyError: 'x'; METABENCH_DEBUG=1 shows where"),
        (None, 0, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_exit_statuses(error, status, line, monkeypatch):
    @click.group(cls=Commands)
    def cli():
        """A command line with one command."""

    @cli.command()
    def work():
        if error is not None:
            raise error

    monkeypatch.delenv("METABENCH_DEBUG", raising=False)
    assert run("work", cli=cli) == (status, "", "" if line is None else f"metabench: {line}\n")


def test_debugging_shows_where(monkeypatch):
    monkeypatch.setenv("METABENCH_DEBUG", "1")
    done = CliRunner().invoke(main, ["verify", "startr"])
    assert isinstance(done.exception, UsageError)


def test_a_closed_pipe_is_no_traceback():
    command = f"{sys.executable} -m metabench.cli list tasks | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.split() == ["task", "workload"]
    assert done.stderr == ""


def test_warnings_are_one_line():
    code = (
        "import warnings, click\nfrom metabench.cli import main\n"
        "@main.command('warn')\ndef warn():\n"
        "    warnings.warn('resident is not\\navailable')\n    warnings.warn('mean of nothing', RuntimeWarning)\n"
        "main(['warn'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines() == [
        "metabench: resident is not available",
        "metabench: RuntimeWarning: mean of nothing (<string>, line 6)",
    ]
