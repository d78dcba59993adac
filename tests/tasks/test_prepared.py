"""The cache of prepared tasks: what is damaged, swapped or of wrong shapes is prepared anew and never trained on."""

import io
import json
import shutil

import numpy as np
import pytest

from metabench import registry, tasks
from metabench.tasks import prepared

NAME = "mlp-wine"


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    """A cache with one prepared task, and its arrays."""
    cache = tmp_path_factory.mktemp("genuine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METABENCH_CACHE", str(cache))
        tasks.get.cache_clear()
        found = tasks.get(NAME).arrays(0)
    tasks.get.cache_clear()
    return cache, found


@pytest.fixture
def folder(genuine, tmp_path, monkeypatch):
    shutil.copytree(genuine[0], tmp_path / "cache")
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    tasks.get.cache_clear()
    yield next((tmp_path / "cache/tasks").iterdir())
    tasks.get.cache_clear()


def flipped(content: bytes, seed: int) -> bytes:
    at = int(np.random.default_rng(seed).integers(len(content)))
    return content[:at] + bytes([content[at] ^ (1 << seed % 8)]) + content[at + 1 :]


def permuted(content: bytes) -> bytes:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        values = {name: stored[name] for name in stored.files}
    values["y_train"] = values["y_train"][::-1]
    file = io.BytesIO()
    np.savez(file, **values)
    return file.getvalue()


DAMAGE = {
    "permuted labels": ("0.npz", permuted),
    "cut arrays": ("0.npz", lambda content: content[: len(content) // 2]),
    "no arrays": ("0.npz", lambda content: None),
    "empty arrays": ("0.npz", lambda content: b""),
    "cut facts": ("facts.json", lambda content: content[: len(content) // 2]),
    "empty facts": ("facts.json", lambda content: b""),
    "no facts": ("facts.json", lambda content: None),
    "facts of another form": ("facts.json", lambda content: b'{"n_classes": 3}'),
    "other facts": ("facts.json", lambda content: content.replace(b"n_classes", b"n_clasess")),
    "nested facts": ("facts.json", lambda content: b"[" * 100_000),
    **{f"bit {i} of the arrays": ("0.npz", lambda content, i=i: flipped(content, i)) for i in range(6)},
    **{f"bit {i} of the facts": ("facts.json", lambda content, i=i: flipped(content, i)) for i in range(6)},
}


@pytest.mark.parametrize("late", [False, True], ids=["before", "meanwhile"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_damaged_is_prepared_anew(folder, genuine, kind, late):
    """Before the task is asked for, and between that and the first run."""
    name, damage = DAMAGE[kind]
    task = tasks.get(NAME) if late else None
    changed = damage((folder / name).read_bytes())
    (folder / name).unlink() if changed is None else (folder / name).write_bytes(changed)
    found = (task or tasks.get(NAME)).arrays(0)
    for part in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(found, part), getattr(genuine[1], part))
    assert prepared.read_facts(folder)["n_classes"] == 3
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_link_in_the_place_of_arrays_is_not_followed(folder, tmp_path, genuine):
    outside = tmp_path / "outside.npz"
    outside.write_bytes(permuted((folder / "0.npz").read_bytes()))
    (folder / "0.npz").unlink()
    (folder / "0.npz").symlink_to(outside)
    np.testing.assert_array_equal(tasks.get(NAME).arrays(0).y_train, genuine[1].y_train)
    assert not (folder / "0.npz").is_symlink() and outside.exists()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("y_train", lambda y: y[:-1]),
        ("y_train", lambda y: np.full_like(y, 99)),
        ("y_valid", lambda y: -1 - y),
        ("x_train", lambda x: x[:, :-1]),
        ("x_test", lambda x: x.astype(np.float64)),
        ("x_valid", lambda x: x[0, 0]),
    ],
)
def test_shapes_and_classes_are_checked_whatever_the_digest_says(folder, genuine, name, change):
    """A folder whose digests fit, but whose arrays would crash a kernel."""
    facts = prepared.read_facts(folder)

    def arrays(split):
        import dataclasses

        return dataclasses.replace(genuine[1], **{name: change(getattr(genuine[1], name))})

    prepared.store(folder, facts, arrays)
    with pytest.raises(prepared.Unsound):
        prepared.read(folder, 0)
    found = tasks.get(NAME).arrays(0)
    np.testing.assert_array_equal(getattr(found, name), getattr(genuine[1], name))


def test_splits_of_other_widths_are_sound(folder, genuine):
    """Categories that one split's training rows have and another's lack make columns of the first alone."""
    facts = prepared.read_facts(folder)

    def arrays(split):
        import dataclasses

        parts = {n: getattr(genuine[1], n)[:, : 13 - split] for n in ("x_train", "x_valid", "x_test")}
        return dataclasses.replace(genuine[1], **parts)

    prepared.store(folder, facts | {"n_splits": 2}, arrays)
    assert [prepared.read(folder, split).x_train.shape[1] for split in (0, 1)] == [13, 12]


def test_two_processes_may_prepare_one_task(folder, genuine, monkeypatch):
    """The other one finishes while this one writes."""
    shutil.move(folder, folder.with_name("aside"))

    def slow(made, facts, arrays):
        shutil.move(folder.with_name("aside"), folder)
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr(prepared, "store", slow)
    assert tasks.get(NAME).arrays(0).n_classes == 3


def test_folders_of_an_older_make_are_left_alone(folder):
    """Their key is another one: they are neither trusted nor removed."""
    workload = registry.load("workloads", "mlp")
    old = tasks._identity("fingerprint", workload)
    prepared_version = prepared.VERSION
    try:
        prepared.VERSION = "1"
        assert tasks._identity("fingerprint", workload) != old
    finally:
        prepared.VERSION = prepared_version
    assert json.loads((folder / "facts.json").read_text()).keys() == {"sha256", "content"}
