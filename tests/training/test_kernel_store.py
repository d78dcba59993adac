"""A compiled kernel is run: one that others could have written, or that is damaged, is never loaded."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from metabench import untrusted
from metabench.errors import MetabenchError
from metabench.training import resident
from metabench.training.resident import store

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler")
#: what a planted kernel does when it is loaded
EVIL = '#include <stdio.h>\n__attribute__((constructor)) void run(void) { fclose(fopen("EVIL", "w")); }\n'


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """The path of a small kernel in a cache of its own."""
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "_own_cache", lambda: tmp_path / "own")
    monkeypatch.setattr(resident, "_HERE", tmp_path / "source")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/mlp.cpp").write_text('extern "C" const char* isa() { return "small"; }\n')
    return resident.build()


@needs_compiler
def test_a_stored_kernel_is_used_again(kernel):
    before = kernel.stat().st_ino
    assert resident.build() == kernel and kernel.stat().st_ino == before


@needs_compiler
@pytest.mark.parametrize("damage", ["empty", "half", "bit", "longer", "link", "writable"])
def test_a_damaged_kernel_is_made_anew(kernel, damage, tmp_path):
    content = kernel.read_bytes()
    if damage == "empty":
        kernel.write_bytes(b"")
    elif damage == "half":
        os.truncate(kernel, len(content) // 2)
    elif damage == "bit":
        at = int(np.random.default_rng(0).integers(len(content)))
        kernel.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    elif damage == "longer":
        kernel.write_bytes(content + b"\0")
    elif damage == "link":
        shutil.move(kernel, tmp_path / "elsewhere.so")
        kernel.symlink_to(tmp_path / "elsewhere.so")
    else:
        kernel.chmod(0o777)
    made = resident.build()
    assert store._sound(made) and not made.is_symlink() and made.stat().st_mode & 0o077 == 0
    assert [path.name for path in made.parent.iterdir()] == [made.name]


@needs_compiler
def test_a_planted_library_does_not_run(kernel, tmp_path, monkeypatch):
    """Whoever knows the name of a kernel puts a library there; even with a sha256 in its name it is not run where the
    folder is open to others, and without one it is replaced."""
    (tmp_path / "evil.c").write_text(EVIL)
    subprocess.run(["cc", "-shared", "-fPIC", "evil.c", "-o", "evil.so"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    shutil.copy(tmp_path / "evil.so", kernel)
    code = f"from metabench.training import resident; resident._HERE = resident.Path({str(tmp_path / 'source')!r}); "
    code += "print(resident.load().isa())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "b'small'" and not (tmp_path / "EVIL").exists()
    for path in kernel.parent.glob("*.so"):
        path.unlink()
    import hashlib

    stem = kernel.stem.rsplit("-", 1)[0]
    value = hashlib.sha256((tmp_path / "evil.so").read_bytes()).hexdigest()
    shutil.copy(tmp_path / "evil.so", kernel.with_name(f"{stem}-{value}.so"))
    kernel.parent.chmod(0o777)
    assert resident.build().parent == tmp_path / "own/kernels"


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o722])
@pytest.mark.parametrize("level", ["cache/kernels", "cache", "."])
def test_a_folder_that_others_may_write_is_passed_over(tmp_path, monkeypatch, mode, level):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "shared/cache"))
    monkeypatch.setattr(store, "_own_cache", lambda: tmp_path / "own")
    (tmp_path / "shared/cache/kernels").mkdir(parents=True)
    monkeypatch.setattr("metabench.untrusted.owner._private_group", lambda gid: False)
    (tmp_path / "shared" / level).chmod(mode)
    assert store.safe_folder() == tmp_path / "own/kernels"
    (tmp_path / "own/kernels").chmod(0o777)
    with pytest.raises(MetabenchError, match=r"shared.*own") as error:
        store.safe_folder()
    assert "\n" not in str(error.value)


def test_files_of_another_user_are_exposed(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("")
    assert untrusted.exposed(tmp_path / "x") is None
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    assert "another user" in untrusted.exposed(tmp_path / "x")


@needs_compiler
def test_what_a_killed_compiler_left_is_swept(kernel):
    kernel.unlink()
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    from metabench import files

    left = files.beside(kernel)
    dead = left.with_name(left.name.replace(f"-{os.getpid()}-", f"-{int(process.stdout)}-"))
    dead.write_bytes(b"half")
    made = resident.build()
    assert [path.name for path in made.parent.iterdir()] == [made.name]
