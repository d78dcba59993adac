"""The data sets that come with scikit-learn: real, and there without any network."""

from __future__ import annotations

from importlib.metadata import version

from metabench import registry
from metabench.sources.base import Dataset, Listing

#: name → (kind, modality, rows, columns, family, licence, notes); a family that the catalogue shares is named as there
_SETS = {
    "iris": ("classification", "tabular", 150, 4, "iris", "CC BY 4.0", "Fisher's irises"),
    "wine": ("classification", "tabular", 178, 13, "wine", "CC BY 4.0", "chemical analysis of wines, UCI"),
    "breast_cancer": (
        "classification",
        "tabular",
        569,
        30,
        "wdbc",
        "CC BY 4.0",
        "Wisconsin diagnostic breast cancer, UCI",
    ),
    "digits": ("classification", "image", 1797, 0, "optdigits", "CC BY 4.0", "the test part of UCI's optdigits, 8×8"),
    "diabetes": (
        "regression",
        "tabular",
        442,
        10,
        "diabetes_lars",
        "unstated",
        "Efron et al., Least Angle Regression, 2004",
    ),
}


class Bundled:
    """scikit-learn's iris, wine, breast cancer, digits and diabetes (linnerud's 20 rows are too few)."""

    name = "bundled"

    def names(self) -> list[str]:
        return list(_SETS)

    def listing(self, name: str) -> Listing:
        if name not in _SETS:
            raise registry.suggest(name, self.names(), "bundled data set")
        kind, modality, rows, columns, *_ = _SETS[name]
        return Listing(name, kind, modality, rows, f"scikit-learn {version('scikit-learn')}", features=columns)

    def load(self, name: str) -> Dataset:
        listing = self.listing(name)
        import pandas as pd
        from sklearn import datasets

        *_, family, licence, notes = _SETS[name]
        unscaled = {"scaled": False} if name == "diabetes" else {}
        bunch = getattr(datasets, f"load_{name}")(**unscaled)
        if listing.modality == "image":
            X = bunch.images
        else:
            X = pd.DataFrame(bunch.data, columns=[str(c) for c in bunch.feature_names])
        y = pd.Series(bunch.target, name="target")
        return Dataset(name, family, self.name, listing.modality, listing.kind, X, y, licence=licence, notes=notes)
