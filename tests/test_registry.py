"""Plug-ins: found by name without an import, wrong names answered with the nearest right one, no name taken twice."""

import subprocess
import sys
import textwrap

import pytest

from metabench import registry
from metabench.errors import MetabenchError, UsageError


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a distribution with entry points (and the modules they name) on the path, as pip would."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(distribution: str, group: str, points: dict[str, str], **modules: str):
        info = tmp_path / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {value}" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
            monkeypatch.delitem(sys.modules, name, raising=False)

    return add


SEARCHER = """
class Mine:
    name = "mine"
    def __init__(self, size=3): self.size = size
"""


def test_built_ins_are_the_files_of_the_folder():
    assert "mlp" in registry.names("workloads")
    assert not {"base", "common"} & set(registry.names("workloads"))


def test_listing_imports_no_plug_in():
    code = """
        import sys
        from metabench import registry
        for kind in registry.KINDS: registry.names(kind)
        assert "metabench.workloads.mlp" not in sys.modules
        assert not {"torch", "xgboost", "sklearn"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_loading_gives_the_class_of_that_name():
    cls = registry.load("workloads", "mlp")
    assert (cls.__name__, cls.name) == ("Mlp", "mlp")


def test_unknown_name_offers_the_nearest():
    with pytest.raises(UsageError, match=r"^unknown workload 'mlpp'; did you mean 'mlp'\?$"):
        registry.load("workloads", "mlpp")


def test_a_name_like_no_other_gets_the_list():
    with pytest.raises(UsageError, match=r"^unknown workload 'zzzzzz'; known: .*\bmlp\b"):
        registry.load("workloads", "zzzzzz")


def test_suggestion_sorts_what_is_known():
    assert str(registry.suggest("qqq", ["b", "a"], "thing")) == "unknown thing 'qqq'; known: a, b"


def test_entry_points_are_found_and_loaded(install):
    install("their-package", "metabench.metamodels", {"mine": "theirs:Mine"}, theirs=SEARCHER)
    assert "mine" in registry.names("metamodels")
    assert "theirs" not in sys.modules
    assert registry.load("metamodels", "mine").name == "mine"
    assert registry.create("metamodels", "mine", size=5).size == 5


def test_one_group_does_not_leak_into_another(install):
    install("their-package", "metabench.metamodels", {"mine": "theirs:Mine"}, theirs=SEARCHER)
    assert "mine" not in registry.names("baselines")


def test_an_outsider_may_not_take_a_built_in_name(install):
    install("their-package", "metabench.workloads", {"mlp": "theirs:Mine"}, theirs=SEARCHER)
    registry._ignored.cache_clear()
    with pytest.warns(
        UserWarning, match=r"theirs:Mine is ignored: 'mlp' is the name of one of metabench's own workloads"
    ):
        assert registry.names("workloads").count("mlp") == 1
    assert registry.load("workloads", "mlp").__module__.startswith("metabench.workloads")


def test_two_outsiders_may_not_share_a_name(install):
    install("one", "metabench.metamodels", {"mine": "theirs:Mine"}, theirs=SEARCHER)
    install("two", "metabench.metamodels", {"mine": "others:Mine"}, others=SEARCHER)
    with pytest.raises(MetabenchError, match="two metamodels are called 'mine'"):
        registry.load("metamodels", "mine")
    assert {"mine", "box"} <= set(registry.names("metamodels"))
    assert registry.load("metamodels", "box").name == "box"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("absent_module:Mine", "absent_module"),
        ("theirs:Nothing", "Nothing"),
        ("broken:Mine", "oops"),
        ("leaving:Mine", "0"),
        ("worse:Mine", "Worse"),
    ],
)
def test_an_outsider_that_cannot_be_loaded_is_one_clear_error(install, value, why):
    modules = {
        "broken": "raise RuntimeError('oops')",
        "leaving": "raise SystemExit(0)",
        "worse": "class Worse(BaseException): pass\nraise Worse()",
    }
    install("their-package", "metabench.metamodels", {"mine": value}, theirs=SEARCHER, **modules)
    with pytest.raises(MetabenchError, match=rf"metamodel 'mine' cannot be loaded: .*{why}") as caught:
        registry.load("metamodels", "mine")
    assert not isinstance(caught.value, UsageError)


def test_a_setting_the_constructor_lacks_is_a_usage_error(install):
    install("their-package", "metabench.metamodels", {"mine": "theirs:Mine"}, theirs=SEARCHER)
    with pytest.raises(UsageError, match=r"^metamodel 'mine': .*sizes"):
        registry.create("metamodels", "mine", sizes=5)


def test_a_module_without_its_class_is_an_error(install):
    install("their-package", "metabench.metamodels", {}, theirs=SEARCHER)
    import theirs

    assert registry.plugin_class(theirs, "mine") is theirs.Mine
    with pytest.raises(MetabenchError, match="module theirs defines no class with name = 'other'"):
        registry.plugin_class(theirs, "other")


def test_a_class_that_was_imported_or_inherits_its_name_is_not_the_plug_in(install):
    child = "from theirs import Mine\nclass Child(Mine): pass\n"
    install("their-package", "metabench.metamodels", {}, theirs=SEARCHER, child=child)
    import child

    with pytest.raises(MetabenchError, match="module child defines no class"):
        registry.plugin_class(child, "mine")


@pytest.mark.parametrize("kind", sorted(registry.KINDS))
def test_every_built_in_of_every_kind_can_be_loaded(kind):
    for name in registry._builtin(kind):
        assert registry.load(kind, name).name == name


def test_what_is_lacking_is_said_with_the_extra_that_brings_it(monkeypatch):
    class Peer:
        requires = ("sys", "syne_tune_x", "no_such_package")

    lines = ['syne-tune.x<0.17,>=0.16; extra == "peers"', "numpy>=2.0", "no-such-package; extra == 'test'"]
    monkeypatch.setattr(registry, "requires", lambda name: lines)
    assert registry.missing(Peer) == registry.missing(Peer()) == ["syne_tune_x", "no_such_package"]
    assert registry.lacks(Peer) == (
        "needs syne_tune_x and no_such_package, which are not installed (pip install 'metabench[peers]')"
    )
    Peer.requires = ("no_such_package",)
    assert registry.lacks(Peer) == "needs no_such_package, which is not installed"
    Peer.requires = ("sys",)
    assert registry.lacks(Peer) is registry.lacks(object()) is None


def test_the_extras_bring_what_the_built_ins_need():
    """All but HEBO, whose releases cannot be asked for (docs/contributing/baseline.md)."""
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    asked = " ".join(line for extra in project["optional-dependencies"].values() for line in extra)
    needed = {
        p
        for kind in ("baselines", "metamodels")
        for n in registry.builtin(kind)
        for p in getattr(registry.load(kind, n), "requires", ())
    }
    assert needed >= {"optuna", "smac", "syne_tune"}
    assert {p for p in needed if p.replace("_", "-") not in asked.replace("_", "-")} == {
        "hebo",
        "pymoo",
        "disjoint_set",
    }


@pytest.mark.parametrize("kind", ["workloads", "metamodels"])
def test_a_plug_in_is_a_file_or_a_folder_and_what_supports_them_is_none(kind, tmp_path, monkeypatch):
    plugs = tmp_path / "plugs"
    files = {
        "__init__.py": "",
        "base.py": "raise AssertionError",
        "_private.py": "raise AssertionError",
        "parts/__init__.py": "raise AssertionError",
        "alone.py": 'class Alone:\n    name = "alone"\n',
        "room/__init__.py": 'from plugs.room.shape import SIZE\nclass Room:\n    name = "room"\n    size = SIZE\n',
        "room/shape.py": "SIZE = 3\n",
        "room/network.py": "raise AssertionError",
    }
    for name, source in files.items():
        (plugs / name).parent.mkdir(parents=True, exist_ok=True)
        (plugs / name).write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry.KINDS, kind, "plugs")
    registry._builtin.cache_clear()
    try:
        assert registry.builtin(kind) == ["alone", "room"]
        assert registry.load(kind, "alone").name == "alone" and registry.load(kind, "room").size == 3
    finally:
        registry._builtin.cache_clear()
        for name in [n for n in sys.modules if n.split(".")[0] == "plugs"]:
            del sys.modules[name]


def test_a_look_at_every_workloads_space_imports_no_torch():
    code = """
        import sys
        from metabench import registry
        for name in registry.names("workloads"): registry.load("workloads", name).space.default()
        assert "torch" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
