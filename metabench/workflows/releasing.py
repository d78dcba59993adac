"""Publishing tables and boards: the registry that the wheel carries, the part of ``starter`` in it, and uploads."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from metabench import extras, files
from metabench.downloads import listing, mirrors
from metabench.errors import MetabenchError, UsageError
from metabench.table import rows
from metabench.table.files import read_tasks
from metabench.table.find import PACKAGED
from metabench.table.read import Table

#: the table in the wheel: of this one, the workload and the seed; its version 0
STARTER, WORKLOAD, SEED = "starter", "mlp", 0


def write_registry(root: Path) -> list[listing.Entry]:
    """List every table and board of a clone in the registry of the package, and cut the part of ``starter`` for the wheel.

    Args:
        root: the clone.

    Returns:
        The entries of the registry.

    Raises:
        UsageError: there is no table or board below the folder.
    """
    found = list(listing.scan(root))
    if not found:
        raise UsageError(f"{root} has no datasets/ or leaderboards/ to list; run this in a clone")
    files.replace_file(listing.REGISTRY, listing.as_json(found))
    listing.entries.cache_clear()
    source = max((e for e in found if (e.kind, e.name) == ("datasets", STARTER)), key=lambda e: e.version, default=None)
    if source is not None:
        files.write_tree(PACKAGED / STARTER / "v0", packaged(Table(root / source.prefix)))
    return found


def packaged(table: Table) -> dict[str, bytes]:
    """The files of the small table in the wheel: one workload of ``starter`` with one seed, a table of its own."""
    tasks = read_tasks(table.path / "tasks.parquet")
    tasks = tasks.filter(pc.equal(tasks["workload"], WORKLOAD))
    runs = table.runs(WORKLOAD).filter(pc.equal(table.runs(WORKLOAD, ["seed"])["seed"], SEED))
    content = {
        f"configs/{WORKLOAD}.parquet": (table.path / f"configs/{WORKLOAD}.parquet").read_bytes(),
        f"runs/{WORKLOAD}.parquet": rows.encode(rows.ordered(runs), rows.FINAL),
        "tasks.parquet": rows.encode(tasks, rows.FINAL),
    }
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(content.items()))
    return content | {"SHA256SUMS": sums.encode()}


@dataclass(frozen=True)
class Upload:
    """A file of a publication. ``state`` is ``new``, ``changed`` or ``there``."""

    path: str
    size: int
    sha256: str
    state: str


def publish(root: Path, to: str, names: list[str], dry_run: bool, say: Callable[[str], None]) -> list[Upload]:
    """Copy tables and boards to a folder or to a data set on the Hugging Face Hub, laid out as mirrors are.

    Args:
        root: the clone that holds them.
        to: a folder, or ``hf://datasets/<owner>/<name>``.
        names: tables and boards; none: all.
        dry_run: say what would be uploaded, and change nothing.
        say: is told of each step.

    Returns:
        Every file, and whether it is there already.

    Raises:
        UsageError: an unknown name or address.
        MetabenchError: the destination cannot be read or written.
    """
    from metabench.registry import suggest

    entries = list(listing.scan(root))
    for name in names:
        if name not in {e.name for e in entries}:
            raise suggest(name, sorted({e.name for e in entries}), "table or board")
    chosen = [e for e in entries if not names or e.name in names]
    if not chosen:
        raise UsageError(f"{root} has no datasets/ or leaderboards/ to publish; run this in a clone")
    wanted = {f"{e.prefix}/{path}": of for e in chosen for path, of in e.files.items()}
    hub = to.startswith("hf://")
    if not hub and "://" in to:
        raise UsageError(f"--to {to}: publish to a folder or to hf://datasets/<owner>/<name>")
    there = _on_hub(to) if hub else _in_folder(Path(to), wanted)
    uploads = [Upload(path, size, sha, _state(there.get(path), sha)) for path, (sha, size) in wanted.items()]
    todo = [u for u in uploads if u.state != "there"]
    say(f"{len(todo)} of {len(uploads)} files to upload, {sum(u.size for u in todo) / 1e6:.1f} MB, to {to}")
    if dry_run or not todo:
        return uploads
    (_upload if hub else _copy)(root, to, todo)
    return uploads


def _state(found: str | None, sha256: str) -> str:
    return "new" if found is None else "there" if found == sha256 else "changed"


def _in_folder(folder: Path, wanted) -> dict[str, str]:
    present = [path for path in wanted if (folder / path).is_file()]
    return {path: listing.sha256(folder / path) for path in present}


def _copy(root: Path, to: str, todo: list[Upload]) -> None:
    for upload in todo:
        target = Path(to) / upload.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with files.replacing(target) as part:
                shutil.copyfile(root / upload.path, part)
        except OSError as error:
            raise MetabenchError(f"{target} cannot be written: {error.strerror or error}") from None


def _repository(to: str) -> str:
    match = mirrors.HUB.fullmatch(to.rstrip("/"))
    if match is None or match[3] or match[4]:
        raise UsageError(f"--to {to}: write hf://datasets/<owner>/<name>")
    return match[2]


def _on_hub(to: str) -> dict[str, str]:
    """Path → sha256 of the files of a data set on the Hub; a small file that is not in LFS has its git hash instead."""
    import requests

    url: str | None = f"{mirrors.hub()}/api/datasets/{_repository(to)}/tree/main?recursive=true"
    found: dict[str, str] = {}
    try:
        while url:
            answer = requests.get(url, headers=mirrors.headers(url), timeout=mirrors.TIMEOUT)
            if answer.status_code == 404:
                return {}
            answer.raise_for_status()
            items: list[dict[str, Any]] = answer.json()
            found |= {i["path"]: (i.get("lfs") or {}).get("oid") or i["oid"] for i in items if i.get("type") == "file"}
            url = answer.links.get("next", {}).get("url")
    except requests.HTTPError as error:
        status = None if error.response is None else error.response.status_code
        raise MetabenchError(f"{mirrors.hub()} answers {status} for {to}") from None
    except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MetabenchError(f"{mirrors.hub()} cannot be asked about {to} ({type(error).__name__})") from None
    return found


def _upload(root: Path, to: str, todo: list[Upload]) -> None:
    extras.need("huggingface_hub", "uploading to the Hub")
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api, repository = HfApi(endpoint=mirrors.hub()), _repository(to)
    try:
        api.create_repo(repository, repo_type="dataset", exist_ok=True)
        operations = [CommitOperationAdd(path_in_repo=u.path, path_or_fileobj=str(root / u.path)) for u in todo]
        api.create_commit(repository, operations, commit_message="Publish tables and boards", repo_type="dataset")
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise MetabenchError(f"{to} cannot be written: {str(error).splitlines()[0][:300]}") from None
