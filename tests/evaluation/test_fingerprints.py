"""What identifies a method: explicit versions; the text of the source where an outsider declares none."""

import builtins
import importlib
import inspect
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from metabench import registry
from metabench.baselines.gp import GP
from metabench.errors import MetabenchError
from metabench.evaluation import resolve
from metabench.evaluation.methods import code_identity, versions
from metabench.evaluation.source_text import class_digest, tokens
from metabench.search.base import Searcher
from metabench.testing import golden

NAMES = [*registry.builtin("baselines"), *registry.builtin("metamodels")]
BODY = "from metabench.search.base import Searcher\nfrom plug_helper import N\nclass P(Searcher):\n    name = 'p'\n"


@pytest.fixture
def plug(tmp_path, monkeypatch):
    """Import a class ``P`` from source texts: file name → text."""
    monkeypatch.syspath_prepend(tmp_path)

    def made(**files):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module("plug").P

    yield made
    for name in ("plug", "plug_helper"):
        sys.modules.pop(name, None)


def test_no_key_of_a_built_in_method_depends_on_source_text(monkeypatch):
    before = [m.fingerprint for m in resolve(NAMES)]
    assert len(set(before)) == len(NAMES)

    asked: list[str] = []

    def watched(function):
        def called(*args, **kwargs):
            if function.__name__ not in ("read_text", "read_bytes", "open") or str(args[0]).endswith(".py"):
                asked.append(f"{function.__name__} {args[0]}")
            return function(*args, **kwargs)

        return called

    readers = [(Path, "read_text"), (Path, "read_bytes"), (builtins, "open"), (io, "open"), (tokenize, "open")]
    for where, name in [*readers, (inspect, "getsource"), (inspect, "findsource")]:
        monkeypatch.setattr(where, name, watched(getattr(where, name)))
    after = [m.fingerprint for m in resolve(NAMES)]
    monkeypatch.undo()
    assert after == before and asked == []


def test_keys_are_those_of_the_records_whatever_python_this_is():
    folder = Path(__file__).parents[1] / "golden/proposals"
    stored = {path.stem: golden.read(path.stem, folder)["fingerprint"] for path in folder.iterdir()}
    assert {n: resolve(n)[0].fingerprint for n in stored} == stored


def test_neither_the_name_of_a_class_nor_its_module_counts():
    moved = type("Renamed", (Searcher,), {"name": "gp", "version": "1", "__module__": "metabench.elsewhere.deep"})
    assert code_identity(moved) == code_identity(GP) == ["metabench", [("gp", "1")]]


def test_versions_of_what_a_method_is_made_of_count(monkeypatch):
    for name, part in [("auto", "gp"), ("policy_gradient", "empirical_gp"), ("rush", "box"), ("turbo", "botorch")]:
        cls = registry.load("baselines" if name == "turbo" else "metamodels", name)
        assert {name, part} <= versions(cls).keys()
    before = [m.fingerprint for m in resolve(["auto", "rush", "portfolio", "gp"])]
    monkeypatch.setattr(GP, "version", "2")
    after = [m.fingerprint for m in resolve(["auto", "rush", "portfolio", "gp"])]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True, False]


def test_a_method_of_the_package_without_a_version_is_refused():
    mine = type("Mine", (GP,), {"name": "mine", "__module__": "metabench.metamodels.mine"})
    with pytest.raises(MetabenchError, match=r"metabench\.metamodels\.mine\.Mine declares no version of its own"):
        resolve(mine)


def test_code_of_an_outsider_counts_but_comments_do_not(plug):
    def digest(code, helper="N = 1\n"):
        return resolve(plug(plug_helper=helper, plug=code))[0].fingerprint

    first = digest(BODY)
    assert digest('"""Words."""\n# more\n' + BODY.replace("):\n", "):\n    'Of it.'\n\n"), "N  =  1  # one\n") == first
    assert digest(BODY + "    a = 1\n") != first
    # a helper of another top-level package is a library: its code does not count
    assert digest(BODY, "N = 2\n") == first


def test_an_outsiders_version_stands_in_for_its_code(plug):
    def digest(version, rest=""):
        return resolve(plug(plug_helper="N = 1\n", plug=f"{BODY}    version = {version!r}\n{rest}"))[0].fingerprint

    first = digest("1")
    assert digest("1", "    a = 1\n") == first and digest("2") != first


def test_methods_of_the_package_that_an_outsider_uses_count(plug, monkeypatch):
    inherits = "from metabench.baselines.gp import GP\nclass P(GP):\n    name = 'p'\n"
    imports = "from metabench.search.base import Searcher\nfrom metabench.baselines.gp import GP\n"
    uses = imports + "class P(Searcher):\n    name = 'p'\n"
    for code in (inherits, uses):
        cls = plug(plug=code)
        before = resolve(cls)[0].fingerprint
        with monkeypatch.context() as patched:
            patched.setattr(GP, "version", "2")
            assert resolve(cls)[0].fingerprint != before
        assert resolve(cls)[0].fingerprint == before


def test_an_outsider_of_the_same_name_is_another_method():
    mine = type("Mine", (Searcher,), {"name": "gp", "version": "1", "__module__": "my_pkg.methods"})
    assert code_identity(mine) != code_identity(GP)


def test_tokens_leave_layout_and_docstrings_out_and_keep_the_rest():
    plain = "def f(a):\n    if a:\n        return f'{a!r:>{3}} {{x}}'\n    return 'b'\n"
    dressed = (
        '"""Doc."""\n\n\ndef f(  a ):  # why\n    """What it\n    does."""\n    if a:\n\n'
        "            return f'{a!r:>{3}} {{x}}'\n    return 'b'\n"
    )
    assert tokens(dressed) == tokens(plain)
    assert "f'{a!r:>{3}} {{x}}'" in tokens(plain)  # whole, as before Python 3.12
    for a, b in [("'b'", "'c'"), ("{{x}}", "{{y}}"), ("    return 'b'", "        return 'b'")]:
        assert tokens(plain.replace(a, b)) != tokens(plain)
    assert tokens("x = 'a'\n") == ["x", "=", "'a'", "\n"]
    assert tokens('f"""a\n{b}"""\n') == tokens("\n") == []


def test_a_class_without_source_is_identified_by_its_functions():
    made: dict = {}
    for body in ("return 1", "return 2"):
        scope = {"Searcher": Searcher, "__name__": "nowhere"}
        exec(f"class P(Searcher):\n    name = 'p'\n    def ask(self, history):\n        {body}\n", scope)
        made[body] = class_digest(scope["P"])[0]
    assert made["return 1"] != made["return 2"]


def test_keys_are_the_same_in_another_process():
    code = "from metabench.evaluation import resolve\nprint(resolve('auto')[0].fingerprint)"
    run = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == resolve("auto")[0].fingerprint
