"""The repository that this package runs from, if it does: an installed package stands among packages of others."""

from __future__ import annotations

from pathlib import Path

#: where the project lives; addresses in messages, in the default mirror and in the metadata begin with it
REPOSITORY = "https://github.com/metabench/metabench"


def beside(name: str) -> list[Path]:
    """Where data of the repository lie.

    Args:
        name: a folder of the repository, such as ``datasets``.

    Returns:
        That folder beside the package when the package lies in a checkout, nothing when it is installed.
    """
    root = Path(__file__).resolve().parents[1]
    return [root / name] if (root / "pyproject.toml").is_file() and (root / "constraints.txt").is_file() else []
