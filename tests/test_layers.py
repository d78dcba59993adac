"""The house stands: a module imports only from rows above its own, and the heavy libraries stay where they belong."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import metabench

ROOT = Path(metabench.__file__).parent
#: top to bottom; a module imports from its own row and from those above it
ROWS = [
    "errors",
    "brief",
    "checkout",
    "extras",
    "direction",
    "plain",
    "ranks",
    "untrusted",
    "files",
    "cluster",
    "processes",
    "schema",
    "space",
    "metatrain",
    "registry",
    "sources",
    "downloads",
    "tasks",
    "training",
    "workloads",
    "table",
    "generate",
    "search",
    "baselines",
    "metamodels",
    "pretrained",
    "evaluation",
    "scores",
    "explain",
    "boards",
    "publishing",
    "interop",
    "objectives",
    "advise",
    "speed",
    "testing",
    "workflows",
    "notebook",
    "doctor",
    "cli",
]
#: rows that never import others although these stand above them; but for the one door
FORBIDDEN = {row: {"workloads", "training", "generate"} for row in ("search", "baselines", "metamodels")}
DOOR = ROOT / "search/live.py"
#: rows inside rooms of several floors; what a row names imports from its own and from those before it
INSIDE = {
    "publishing": ["charts", "pages", "boards", "reports", "explained", "site", "explorer"],
    "metamodels": ["parts", "*"],
    "baselines": ["parts", "*"],
    **{
        f"workloads/{path.name}": ["shape", "rules", "network", "cohort", "__init__"]
        for path in sorted((ROOT / "workloads").iterdir())
        if (path / "__init__.py").exists()
    },
}
#: modules that can run code found in data
UNSAFE = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
FILES = sorted(ROOT.rglob("*.py"))


def row_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def executed(tree: ast.AST):
    """Every node that can run: all but the bodies of ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(tree):
        if not is_type_checking(child):
            yield child
            yield from executed(child)


def imports(source: str, package: tuple[str, ...]) -> list[tuple[int, str]]:
    """(line, absolute dotted name) of every import in a module of ``package``, those inside functions included."""
    found = []
    for node in executed(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            found += [(node.lineno, ".".join([*base, alias.name])) for alias in node.names]
    return found


def imports_of(path: Path) -> list[tuple[int, str]]:
    return imports(path.read_text(), ("metabench", *path.relative_to(ROOT).parent.parts))


def module_of(path: Path) -> str:
    return ".".join(("metabench", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def imported_modules(path: Path) -> set[str]:
    """Modules of the package that a file imports, anywhere in it; that Python runs the packages around them is not counted."""
    return {name if name in MODULES else name.rpartition(".")[0] for _, name in imports_of(path)} & set(MODULES)


MODULES = {module_of(path): path for path in FILES}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Sets of more than one node that all reach one another, and nodes that reach themselves in one step (Tarjan, 1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    waiting: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        waiting.append(node)
        for other in sorted(graph[node]):
            if other not in number:
                visit(other)
            if other in waiting:
                lowest[node] = min(lowest[node], lowest[other])
        if lowest[node] == number[node]:
            members = waiting[waiting.index(node) :]
            del waiting[-len(members) :]
            if len(members) > 1 or node in graph[node]:
                found.append(sorted(members))

    for node in sorted(graph):
        if node not in number:
            visit(node)
    return sorted(found)


def floor_of(room: str, name: str) -> str | None:
    """The row of a module inside a room; None for one outside, and for the room's own face where it is no row."""
    rows, face = INSIDE[room], "metabench." + room.replace("/", ".")
    if name != face and not name.startswith(face + "."):
        return None
    row = "__init__" if name == face else name.removeprefix(face + ".").split(".")[0]
    return row if row in rows else "*" if "*" in rows and row != "__init__" else None


def violations(row: str, found: list[tuple[int, str]]) -> list[str]:
    out = []
    for line, name in found:
        parts = name.split(".")
        if parts[0] != "metabench" or len(parts) == 1 or parts[1].startswith("__"):
            continue
        if ROWS.index(parts[1]) > ROWS.index(row):
            out.append(f"line {line}: {row} imports {name}, which stands below it")
        if parts[1] in FORBIDDEN.get(row, ()):
            out.append(f"line {line}: {row} must not import {name}")
    return out


def test_the_check_itself_sees_every_form_of_import():
    source = """
import metabench.cli
from metabench import scores, __version__
from ..training import curves
from . import base
def late():
    from metabench.workloads.base import COMMON
if TYPE_CHECKING:
    from metabench.boards.board import Board
"""
    found = imports(source, ("metabench", "baselines"))
    assert [name for _, name in found] == [
        "metabench.cli",
        "metabench.scores",
        "metabench.__version__",
        "metabench.training.curves",
        "metabench.baselines.base",
        "metabench.workloads.base.COMMON",
    ]
    assert [line.split(":")[0] for line in violations("baselines", found)] == ["line 2", "line 3", "line 4", "line 7"]


def test_circles_are_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a", "e"}, "e": {"f"}, "f": {"d"}, "g": {"g"}}) == [
        ["b", "c"],
        ["d", "e", "f"],
        ["g"],
    ]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_files_import_each_other_in_a_circle():
    assert circles({name: imported_modules(path) for name, path in MODULES.items()}) == []


def test_every_file_of_a_room_of_several_floors_stands_on_one():
    for room in INSIDE:
        here = ROOT / room
        names = {path.stem if path.parent == here else path.relative_to(here).parts[0] for path in here.rglob("*.py")}
        unknown = {n for n in names - {"__init__"} if floor_of(room, f"metabench.{room.replace('/', '.')}.{n}") is None}
        assert unknown == set(), f"{room} has no row for {unknown}"


@pytest.mark.parametrize("room", INSIDE)
def test_imports_inside_a_room_go_upwards(room):
    rows, wrong = INSIDE[room], []
    for name, path in MODULES.items():
        if (row := floor_of(room, name)) is None:
            continue
        for other in sorted(imported_modules(path)):
            there = floor_of(room, other)
            if there is not None and rows.index(there) > rows.index(row):
                wrong.append(f"{name} imports {other}, which stands below it")
    assert wrong == []


def test_the_page_on_architecture_names_the_rows_in_their_order():
    text = (ROOT.parent / "ARCHITECTURE.md").read_text(encoding="utf-8")
    cells = [
        line.split("|")[1]
        for line in text.split("## Floors")[1].split("\n## ")[0].splitlines()
        if line.startswith("| `")
    ]
    assert [name for cell in cells for name in re.findall(r"`(\w+)`", cell)] == ROWS


def test_every_module_has_a_row():
    assert {row_of(path) for path in FILES} - set(ROWS) <= {"__init__", "__main__"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_upwards(path):
    if row_of(path) not in ROWS:
        pytest.skip("the package's own face loads lazily")
    found = violations(row_of(path), imports_of(path))
    assert found == [] or (path == DOOR and all("must not import metabench.training" in v for v in found))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_code_is_loaded_from_data(path):
    assert [(line, name) for line, name in imports_of(path) if name.split(".")[0] in UNSAFE] == []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in {"torch.load", "eval", "exec", "pd.read_pickle"}, f"line {node.lineno}"
            unsafe = [k for k in node.keywords if k.arg == "allow_pickle" and ast.unparse(k.value) != "False"]
            assert not unsafe, f"line {node.lineno}"


def loaded(row: str, heavy: set[str]) -> set[str]:
    """Which of ``heavy`` a fresh interpreter has loaded after importing every module of a row."""
    names = [
        ".".join(("metabench", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for path in FILES
        if row_of(path) == row
    ]
    code = f"import sys, importlib\nfor n in {names!r}: importlib.import_module(n)\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return heavy & set(run.stdout.split())


@pytest.mark.parametrize(
    ("row", "heavy"),
    [
        ("scores", {"torch", "xgboost", "sklearn"}),
        ("boards", {"torch", "xgboost"}),
        ("publishing", {"torch", "xgboost"}),
        ("generate", {"xgboost"}),
        ("table", {"torch", "xgboost"}),
        ("space", {"torch", "xgboost", "sklearn", "scipy"}),
        ("registry", {"torch", "xgboost", "sklearn", "scipy", "pandas", "numpy"}),
    ],
)
def test_heavy_libraries_stay_out(row, heavy):
    assert loaded(row, heavy) == set()


def test_importing_the_package_is_light():
    code = "import sys, metabench; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "xgboost", "sklearn", "scipy", "pandas", "pyarrow", "numpy"} & set(run.stdout.split()) == set()


#: what one module does for all → how it looks where it is written by hand once more
ONE_OF_EACH = {
    "direction.py": r"\b1(\.0)? if .* == \"max\" else -1",
    "files.py": r"\bos\.replace\(",
    "publishing/pages/tree.py": r"is absent\"\)\n +elif ",
}


@pytest.mark.parametrize("module", ONE_OF_EACH)
def test_what_one_module_does_is_written_nowhere_else(module):
    pattern = re.compile(ONE_OF_EACH[module])
    found = [str(path.relative_to(ROOT)) for path in FILES if pattern.search(path.read_text())]
    assert found == [module]
