"""Data sets with less or worse data to train on; :mod:`metabench.tasks.variants` makes them.

They are tasks when they are asked for by name, ``yeast__half``: a pattern that has no ``__`` leaves them out.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from metabench import registry
from metabench.sources.base import Dataset, Listing
from metabench.sources.bundled import Bundled
from metabench.sources.catalogue import Catalogue

#: between the name of a data set and that of its variant
MARK = "__"
#: variant → share of the training rows
FRACTIONS = {"half": 1 / 2, "quarter": 1 / 4, "eighth": 1 / 8}
#: those that make data worse
WORSE = ("noisy", "imbalanced", "shifted")
#: part of the fingerprints: raise it when a variant is made otherwise
VERSION = "1"
#: data sets of 400 to 2,500 training rows: an eighth is still enough to learn from
_SMALLER = (
    "anneal",
    "authorship",
    "basehock",
    "blood_transfusion",
    "breast_w",
    "car",
    "cmc",
    "cnae9",
    "credit_approval",
    "ctg",
    "diabetes_pima",
    "digits",
    "dmft",
    "gas_sensor",
    "halloffame",
    "hypothyroid",
    "ozone_8hr",
    "pcmac",
    "quake",
    "relathe",
    "sick",
    "socmob",
    "solar_flare",
    "solar_flare_count",
    "soybean",
    "space_ga",
    "stock_prices",
    "supreme_court",
    "tic_tac_toe",
    "titanic",
    "vehicle",
    "yeast",
)
#: classifications of tables with numbers
_WORSE = (
    "authorship",
    "balance_scale",
    "blood_transfusion",
    "breast_w",
    "cmc",
    "credit_approval",
    "ctg",
    "diabetes_pima",
    "titanic",
    "vehicle",
    "vertebral_column",
    "yeast",
)


def is_variant(name: str) -> bool:
    """Whether a data set (or task) of that name is a variant of another."""
    return MARK in name


def base(name: str) -> str:
    """The data set that a variant is made of; itself where it is none."""
    return name.partition(MARK)[0]


class Variants:
    """``<data set>__<variant>``."""

    name = "variants"

    def __init__(self):
        self._bases = (Catalogue(), Bundled())
        made = [(name, v) for name in _SMALLER for v in FRACTIONS]
        made += [(name, v) for name in _WORSE for v in WORSE]
        self._made_of = {f"{name}{MARK}{variant}": name for name, variant in made}

    def names(self) -> list[str]:
        return list(self._made_of)

    def _base(self, name: str):
        if name not in self._made_of:
            raise registry.suggest(name, self.names(), "variant of a data set")
        return next(source for source in self._bases if self._made_of[name] in source.names())

    def listing(self, name: str) -> Listing:
        of = self._base(name).listing(self._made_of[name])
        fingerprint = hashlib.sha256(f"{VERSION}/{name}/{of.fingerprint}".encode()).hexdigest()
        return replace(of, name=name, fingerprint=fingerprint)

    def load(self, name: str) -> Dataset:
        return replace(self._base(name).load(self._made_of[name]), name=name, source=self.name)
