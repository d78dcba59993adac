"""What the contracts share: how a broken one is reported, and the size of the problems."""

from __future__ import annotations

from metabench.errors import MetabenchError

#: candidates of a problem
POOL = 40


class ContractError(MetabenchError):
    """A plug-in breaks the contract; the message says where."""


def require(holds: bool, what: str) -> None:
    if not holds:
        raise ContractError(what)
