"""SIGKILL and SIGTERM at random moments of five commands: the next run loses nothing and leaves no litter.

METABENCH_HOSTILE=10 tries a hundred moments of each command.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killed_commands import Build, Evaluate, Generate, Import, Scene, Tune

from metabench.training import resident

pytestmark = [
    pytest.mark.skipif(resident.available() is not None, reason=str(resident.available())),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for orphans in /proc"),
]
#: exit codes that a signal may lead to: it came before the command, after its end, or during it
ENDED = {signal.SIGKILL: {-signal.SIGKILL, 0}, signal.SIGTERM: {-signal.SIGTERM, 143, 0}}
SERVER = Path(__file__).parents[1] / "kill_server.py"


class Server:
    def __init__(self, folder: Path, tables: Path):
        self.cache, self.temporary, self.said = folder / "cache", folder / "tmp", folder / "said"
        self.temporary.mkdir()
        places = {"METABENCH_CACHE": self.cache, "METABENCH_DATASETS": tables, "TMPDIR": self.temporary}
        environment = os.environ | {name: str(value) for name, value in places.items()}
        self.errors = (folder / "errors").open("w")
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def call(self, arguments: list[str], sent: signal.Signals | None = None, after: float = 0.0) -> tuple[int, str]:
        """Exit code of a command, and what it said; a signal is sent to it after so many seconds."""
        print(json.dumps([arguments, str(self.said)]), file=self.process.stdin, flush=True)
        pid = int(self.process.stdout.readline())
        if sent is not None:
            time.sleep(after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)
        code = int(self.process.stdout.readline())
        said = self.said.read_text() if self.said.exists() else ""
        return code, said + "".join(f"\na process is left: {line}" for line in orphans(pid))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()
        self.errors.close()


def orphans(session: int, patience: float = 10.0) -> list[str]:
    """Processes of a session that do not end by themselves."""
    limit = time.monotonic() + patience
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, _, its_session, *_ = path.read_text().rpartition(")")[2].split()
                if int(its_session) == session and state not in "ZX":
                    found.append((path.parent / "cmdline").read_text().replace("\0", " ")[:200])
        if not found or time.monotonic() > limit:
            return found
        time.sleep(0.01)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return Scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def server(tmp_path_factory, scene):
    folder = tmp_path_factory.mktemp("killed")
    kernel = resident.build()
    (folder / "cache/kernels").mkdir(parents=True, mode=0o700)
    shutil.copy2(kernel, folder / "cache/kernels" / kernel.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METABENCH_DATASETS", str(scene.table.path.parent.parent))
        made = Server(folder, scene.table.path.parent.parent)
        yield made
        made.close()


@pytest.fixture(scope="module")
def boards(server, scene, tmp_path_factory):
    """Traces to publish, and a board whose pages are of fewer methods."""
    root = tmp_path_factory.mktemp("boards")
    few, more = Evaluate(scene, server.cache), Evaluate(scene, server.cache)
    few.begin(root / "few")
    arguments = few.arguments(root / "few")
    assert server.call([*arguments[:5], "--method", "sobol", *arguments[-2:]])[0] == 0
    more.begin(root / "more")
    assert server.call(more.arguments(root / "more"))[0] == 0
    first = Build(scene, server.cache, root / "few/out/traces.parquet", root / "none")
    first.begin(root / "earlier")
    assert server.call(first.arguments(root / "earlier")) == (0, server.said.read_text())
    return root / "more/out/traces.parquet", root / "earlier/hostile/v1"


def litter(*folders: Path) -> list[str]:
    """Hidden files and folders but the lock, and whatever a temporary folder holds."""
    return [str(p) for folder in folders for p in folder.rglob(".*") if p.name != ".lock"]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "few"), [(Generate, 9), (Tune, 3), (Evaluate, 6), (Build, 6), (Import, 9)])
def test_ended_at_any_moment(request, server, scene, tmp_path, tally, effort, kind, few):
    more = request.getfixturevalue("boards") if kind is Build else ()
    command, what = kind(scene, server.cache, *more), kind.__name__.lower()
    command.begin(tmp_path / "undisturbed")
    began = time.monotonic()
    code, said = server.call(command.arguments(tmp_path / "undisturbed"))
    assert code == 0, said
    usual = time.monotonic() - began
    assert not command.problems(tmp_path / "undisturbed")
    moments, tries, number, cut = random.Random(7), few if effort(1) == 1 else effort(10), 0, 0
    left = tries
    while left > 0:
        number += 1
        round_ = tmp_path / str(number)
        command.begin(round_)
        for _ in range(min(3, left)):
            left -= 1
            before, sent = command.stored(round_), moments.choice((signal.SIGKILL, signal.SIGTERM))
            moment = moments.uniform(0.0, usual)
            code, said = server.call(command.arguments(round_), sent, moment)
            cut += code != 0
            try:
                lost = before - command.stored(round_)
            except Exception as error:
                lost = f"{type(error).__name__}: {error}"
            bad = code not in ENDED[sent] or bool(lost) or "Traceback" in said or "is left" in said
            tally.verdict(f"{what}, {sent.name} after {moment:.2f} s: exit code {code}, lost {lost}, {said}", not bad)
        code, said = server.call(command.arguments(round_))
        found = litter(round_, server.cache) + [str(path) for path in server.temporary.iterdir()]
        tally.verdict(f"{what}, after signals: exit code {code}, litter {found}, {said}", code == 0 and not found)
        tally.verdict(f"{what}, after signals: {command.problems(round_)}", not command.problems(round_))
    assert cut or tries < 20, "no signal came before the end"  # of few, all may come late where the first call was slow
