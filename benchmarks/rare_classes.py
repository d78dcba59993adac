"""Rare classes and wide tables: what `tune` reaches beside a linear model of scikit-learn, on rows that neither saw.

    python benchmarks/rare_classes.py made      # ten made-up tables of 10,000 rows with 20 positives
    python benchmarks/rare_classes.py real      # mammography, oil_spill, stroke: half of the rows judge
    python benchmarks/rare_classes.py wide      # 500 rows of 2,000 columns, two of which tell the class

Prints a line a table: area under the ROC curve and balanced accuracy of the kept network and of a linear model (balanced
logistic regression; of `wide` an L1 one with cross-validated strength); then mean differences. All learn from the same rows.
Where classes are rare the kept network trains on all of them; of `wide`, whose classes are even, it trains on 60 %, and
`--refit` on all is measured too.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import metabench as mb

TRIALS, REAL = 5, ("mammography", "oil_spill", "stroke")


def made_up(seed: int, positives: int = 20, rows: int = 10_000, judges: int = 100_000):
    """Rows of two Gaussian classes that differ in a few mixed columns, and rows that judge, of which 2 % are positive."""
    rng = np.random.default_rng(seed)
    columns = int(rng.integers(5, 21))
    apart = np.zeros(columns)
    telling = rng.choice(columns, int(rng.integers(2, 6)), replace=False)
    apart[telling] = rng.normal(size=len(telling))
    apart *= rng.uniform(2.0, 3.2) / np.linalg.norm(apart)
    mix = np.eye(columns) + 0.3 * rng.normal(size=(columns, columns)) / np.sqrt(columns)

    def draw(n: int, few: int) -> tuple[pd.DataFrame, np.ndarray]:
        y = np.zeros(n, dtype=int)
        y[rng.choice(n, few, replace=False)] = 1
        x = (rng.normal(size=(n, columns)) + y[:, None] * apart) @ mix
        return pd.DataFrame(x, columns=[f"x{i}" for i in range(columns)]), y

    return *draw(rows, positives), *draw(judges, judges // 50)


def wide(seed: int, rows: int = 500, columns: int = 2_000, judges: int = 10_000):
    """Two columns whose sum tells the class, among noise."""
    rng = np.random.default_rng(seed)
    telling = rng.choice(columns, 2, replace=False)

    def draw(n: int) -> tuple[pd.DataFrame, np.ndarray]:
        x = rng.normal(size=(n, columns)).astype(np.float32)
        return pd.DataFrame(x, columns=[f"x{i}" for i in range(columns)]), (x[:, telling].sum(1) > 0).astype(int)

    return *draw(rows), *draw(judges)


def real(name: str, seed: int):
    """Half of a data set to learn from, half to judge by."""
    from metabench import tasks

    source, _ = tasks._listings()[name]
    data = source.load(name)
    keep = data.y.notna().to_numpy()
    y = (data.y[keep] == data.y[keep].value_counts().idxmin()).to_numpy().astype(int)
    X, X_judge, y, y_judge = train_test_split(data.X[keep], y, test_size=0.5, random_state=seed, stratify=y)
    return X, y, X_judge, y_judge


def linear(X: pd.DataFrame):
    """A balanced logistic regression on standardised numbers and one-hot names."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    names = make_pipeline(SimpleImputer(strategy="constant", fill_value="?"), OneHotEncoder(handle_unknown="ignore"))
    inputs = make_column_transformer(
        (numbers, make_column_selector(dtype_include=["number", "bool"])),
        (names, make_column_selector(dtype_exclude=["number", "bool"])),
    )
    return make_pipeline(inputs, LogisticRegression(class_weight="balanced", max_iter=2_000))


def lasso(X: pd.DataFrame):
    """An L1 logistic regression whose strength is cross-validated."""
    return make_pipeline(
        StandardScaler(), LogisticRegressionCV(Cs=8, l1_ratios=(1.0,), solver="liblinear", cv=3, max_iter=500)
    )


def judged(X, y, X_judge, y_judge, model, refit: bool) -> list[float]:
    """AUC and balanced accuracy of the kept network, of the one refitted on all rows if asked for, and of a linear model."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mb.tune(X, y, trials=TRIALS, refit=refit, out=f"{folder}/out")
        out = []
        for place in ("out", "out/refit")[: 1 + refit]:
            network = mb.load_model(f"{folder}/{place}")
            out += [roc_auc_score(y_judge, network.probabilities(X_judge)[1])]
            out += [balanced_accuracy_score(y_judge, network.predict(X_judge))]
        other = model(X).fit(X, y)
        out += [roc_auc_score(y_judge, other.predict_proba(X_judge)[:, 1])]
        return [*out, balanced_accuracy_score(y_judge, other.predict(X_judge))]


def main(what: str, first: int = 0, last: int | None = None) -> None:
    """Measure one kind of table, the seeds from ``first`` to before ``last``."""
    if what == "real":
        cases = [(f"{name}/{seed}", real(name, seed)) for name in REAL for seed in range(first, last or 3)]
    else:
        draw = {"made": made_up, "wide": wide}[what]
        cases = [(f"{what}/{seed}", draw(seed)) for seed in range(first, last or {"made": 10, "wide": 3}[what])]
    networks = ["kept", "refitted"][: 1 + (what == "wide")]
    print(
        "table          " + "".join(f"{name + ': AUC':>15}  balanced" for name in (*networks, "linear")) + "  seconds"
    )
    rows = []
    for name, case in cases:
        started = time.perf_counter()
        found = judged(*case, lasso if what == "wide" else linear, what == "wide")
        rows.append([name, *found])
        cells = "".join(f"{value:{(15, 10)[i % 2]}.3f}" for i, value in enumerate(found))
        print(f"{name:<15}{cells}{time.perf_counter() - started:9.0f}", flush=True)
    names = [f"{model}_{metric}" for model in (*networks, "linear") for metric in ("auc", "balanced")]
    measured = pd.DataFrame(rows, columns=["name", *names])
    measured["table"] = measured["name"].str.partition("/")[0] if what == "real" else "mean"
    for table, part in measured.groupby("table", sort=False):
        for network in networks:
            area, balanced = (part[f"linear_{m}"] - part[f"{network}_{m}"] for m in ("auc", "balanced"))
            print(
                f"{table}, {network}: behind by {area.mean():+.3f} AUC (at most {area.max():+.3f}) and "
                f"{balanced.mean():+.3f} balanced accuracy (at most {balanced.max():+.3f})"
            )


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("made", "real", "wide"):
        sys.exit(__doc__)
    main(sys.argv[1], *map(int, sys.argv[2:]))
