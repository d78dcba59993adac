"""Data sets made of the catalogue's: episodes of few rows of few classes, and transfers from one data set to another.

The rows of a transfer are the target's; those of its source are learned first. A family may not stand on two sides of a
split, and a transfer would carry its source's across: so data sets that are paired with one another are one family, called
after all of them, ``mnist+notmnist_10k``. Families of which one's name has a part of the other's share rows.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from metabench import registry
from metabench.sources.base import Dataset, Listing
from metabench.sources.catalogue import Catalogue

#: part of the fingerprints: raise it when episodes or transfers are made otherwise
VERSION = "2"
#: data set → (ways, shots); characters of one alphabet stay together
_EPISODES = {
    "omniglot_small1": ((5, 1), (5, 5), (20, 1)),
    "omniglot_small2": ((5, 1), (5, 5)),
    "letter": ((5, 1), (5, 5)),
    "movement_libras": ((3, 1),),
    "sign_digits": ((2, 1), (2, 5)),
    "notmnist_10k": ((2, 1), (2, 5)),
    "mnist_10k": ((2, 1), (2, 5)),
    "cmaterdb_bangla": ((2, 1),),
    "cmaterdb_devanagari": ((2, 1),),
}
#: data sets of one shape that are learned from one another, both ways
_TRANSFERS = (
    ("mnist_10k", "notmnist_10k"),
    ("cmaterdb_bangla", "cmaterdb_devanagari"),
    ("cifar10_12k", "sign_digits"),
    ("fashion_mnist_900", "pneumonia_mnist"),
)


class Derived:
    """``<data set>_<ways>way_<shots>shot`` and ``<source>_to_<target>``."""

    name = "derived"

    def __init__(self):
        self._base = Catalogue()
        self._episodes = {
            f"{name}_{ways}way_{shots}shot": (name, ways, shots)
            for name, sizes in _EPISODES.items()
            for ways, shots in sizes
        }
        self._transfers = {f"{a}_to_{b}": (a, b) for pair in _TRANSFERS for a, b in (pair, pair[::-1])}

    def names(self) -> list[str]:
        return [*self._episodes, *self._transfers]

    def listing(self, name: str) -> Listing:
        if name in self._episodes:
            kind, (target, *_) = "episodes", self._episodes[name]
            parts = [self._base.listing(target)]
        elif name in self._transfers:
            kind, parts = "transfer", [self._base.listing(part) for part in self._transfers[name]]
        else:
            raise registry.suggest(name, self.names(), "derived data set")
        made_of = hashlib.sha256("".join([VERSION, name, *(part.fingerprint for part in parts)]).encode()).hexdigest()
        return replace(parts[-1], name=name, kind=kind, fingerprint=made_of)

    def load(self, name: str) -> Dataset:
        self.listing(name)
        if name in self._episodes:
            base, ways, shots = self._episodes[name]
            data = self._base.load(base)
            assert data.y is not None
            alphabets = data.y.astype(str).str.rpartition("/")[0]  # of labels such as Greek/character01
            groups = np.unique(alphabets, return_inverse=True)[1] if (alphabets != "").all() else None
            made = {"ways": ways, "shots": shots, "groups": groups, "kind": "episodes"}
        else:
            first, data = (self._base.load(part) for part in self._transfers[name])
            family = "+".join(sorted({first.family, data.family}))
            licence = "; ".join(dict.fromkeys([data.licence, first.licence]))
            made = {"first": first, "family": family, "kind": "transfer", "licence": licence}
        return replace(data, name=name, source=self.name, **made)
