"""What the public names say of themselves: arguments, results and errors, each in its section."""

import inspect
import re

import pytest

import metabench as mb
from metabench import explain
from metabench.interop import top_params

FUNCTIONS = {name: getattr(mb, name) for name in mb.__all__ if name not in ("explain", "interop", "__version__")}
FUNCTIONS |= {f"explain.{name}": getattr(explain, name) for name in explain.__all__} | {
    "interop.top_params": top_params
}


def members():
    """Public functions, and the public methods that public classes define."""
    for name, thing in FUNCTIONS.items():
        if inspect.isfunction(thing):
            yield pytest.param(thing, id=name)
            continue
        for method, value in vars(thing).items():
            plain = getattr(value, "__func__", value)
            if inspect.isfunction(plain) and not method.startswith("_"):
                yield pytest.param(plain, id=f"{name}.{method}")


def lacks(function) -> list[str]:
    """Sections that a docstring should have and has not."""
    doc, source = inspect.getdoc(function) or "", inspect.getsource(function)
    signature = inspect.signature(function)
    wanted = []
    if set(signature.parameters) - {"self", "cls"}:
        wanted.append("Args:")
    if signature.return_annotation not in (None, "None", inspect.Signature.empty):
        wanted.append("Returns:")
    if re.search(r"^ *raise (?!NotImplementedError)", source.replace(doc, ""), re.MULTILINE):
        wanted.append("Raises:")
    return [section for section in wanted if f"\n{section}\n" not in f"\n{doc}\n"]


@pytest.mark.parametrize("function", [*members()])
def test_a_public_function_says_what_it_takes_gives_and_raises(function):
    assert (inspect.getdoc(function) or "").strip() and lacks(function) == []


@pytest.mark.parametrize("function", [*members()])
def test_every_argument_that_is_described_exists(function):
    doc = inspect.getdoc(function) or ""
    listed = re.search(r"^Args:\n((?: +.*\n|\n)*)", doc + "\n", re.MULTILINE)
    described = set(re.findall(r"^    \**(\w+):", listed[1], re.MULTILINE)) if listed else set()
    assert described == set(inspect.signature(function).parameters) - {"self", "cls"}


def test_every_public_class_says_what_it_is():
    classes = [thing for thing in FUNCTIONS.values() if inspect.isclass(thing)]
    assert len(classes) > 8 and all(thing.__doc__ and thing.__doc__.strip() for thing in classes)


def test_a_docstring_without_its_sections_is_found():
    def half(a: int) -> int:
        """Half of it.

        Args:
            a: a number.
        """
        if a % 2:
            raise ValueError(a)
        return a // 2

    assert lacks(half) == ["Returns:", "Raises:"]
