"""Commands that bring published tables and boards here, and publish them: fetch, publish."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from metabench.cli.output import as_json, completes, show
from metabench.errors import MetabenchError, UsageError


def _names() -> list[str]:
    from metabench import downloads

    return sorted({e.name for e in downloads.entries()})


@click.command()
@click.argument("names", nargs=-1, shell_complete=completes(_names))
@click.option("--version", type=click.IntRange(1), help="Version of the one table or board.  [default: the newest]")
@as_json
def fetch(names: tuple[str, ...], version: int | None, as_json: bool) -> None:
    """Load published tables and boards into the cache; without NAMES, list what there is.

    A board brings the table that it was made on. Files are checked against the sha256 in the package. A download that was
    cut off goes on where it stopped.
    METABENCH_MIRROR names another place to load from: a folder, https://, hf://datasets/OWNER/NAME or s3://.
    """
    from metabench import downloads
    from metabench.registry import suggest

    if version is not None and len(names) != 1:
        raise UsageError("--version goes with one table or board")
    chosen = []
    for name in names:
        found = [e for kind in downloads.KINDS if (e := downloads.find(kind, name, version)) is not None]
        if not found and name in _names():
            known = sorted({e.version for e in downloads.entries() if e.name == name})
            raise UsageError(f"{name} has no version {version}; it has {', '.join(map(str, known))}")
        if not found:
            raise suggest(name, _names(), "table or board")
        chosen += found
    for entry in chosen:  # which grows by the tables of boards
        folder = downloads.fetch(entry, lambda line: click.echo(line, err=True))
        table = _table_of(folder) if entry.kind == "leaderboards" else None
        if table is not None and table not in chosen:
            chosen.append(table)
    show([_row(e) for e in chosen or downloads.entries()], as_json)


def _table_of(board: Path):
    """The entry of the table that a board was made on; None where everyone imports it for themselves."""
    from metabench import downloads
    from metabench.untrusted import read_toml

    rules = read_toml(board / "board.toml", error=MetabenchError)
    return downloads.find("datasets", str(rules.get("dataset")), rules.get("dataset_version"))


def _row(entry) -> dict[str, object]:
    from metabench import downloads

    here = downloads.on_disk(entry)
    return {
        "name": entry.name,
        "version": entry.version,
        "kind": "table" if entry.kind == "datasets" else "board",
        "MB": round(entry.size / 1e6, 2),
        "folder": str(downloads.folder(entry)) if here else None,
    }


@click.command()
@click.argument("names", nargs=-1)
@click.option("--to", metavar="FOLDER|URI", help="Where to: a folder, or hf://datasets/OWNER/NAME.")
@click.option("--list", "list_only", is_flag=True, help="Hash every table and board into the package's registry.")
@click.option("--dry-run", is_flag=True, help="Say what would be uploaded; change nothing.")
@click.option(
    "--clone",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("."),
    show_default=True,
    help="The clone that holds datasets/ and leaderboards/.",
)
@as_json
def publish(names: tuple[str, ...], to: str | None, list_only: bool, dry_run: bool, clone: Path, as_json: bool) -> None:
    """Publish the tables and boards of a clone as a mirror that `fetch` can load from. For maintainers.

    `publish --list` is run after a table or board has changed, and its result is committed: an installed package loads
    nothing but what the registry lists. `publish --to` uploads what the destination lacks. The token for the Hugging Face
    Hub is read from HF_TOKEN.
    """
    from metabench.workflows import releasing

    if list_only == bool(to):
        raise UsageError("give --list or --to, one of the two")
    if list_only:
        found = releasing.write_registry(clone)
        show([_row(e) | {"files": len(e.files)} for e in found], as_json)
        return
    done = releasing.publish(clone, to or "", list(names), dry_run, lambda line: click.echo(line, err=True))
    show([asdict(u) for u in done], as_json, dry_run=dry_run)


COMMANDS = (fetch, publish)
