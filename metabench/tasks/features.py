"""Task features: what a data set looks like before anything is trained on it, from the training rows alone.

Simple, statistical, information-theoretic and landmarking features in the sense of Vanschoren, "Meta-Learning" (2018),
§3.1. Every value is finite or NaN (does not apply); a data set's features do not depend on validation or test rows.
"""

from __future__ import annotations

import warnings

import numpy as np

from metabench.tasks.splits import row_hashes

#: rows that statistics and landmarkers look at, at most
STATISTICS_ROWS, LANDMARK_ROWS, COLUMNS = 2_000, 500, 64

FEATURES = (
    "log_rows",
    "log_columns",
    "log_inputs",
    "log_rows_per_input",
    "log_classes",
    "is_regression",
    "is_image",
    "share_categorical",
    "share_missing",
    "rows_with_missing",
    "share_binary",
    "class_entropy",
    "class_largest",
    "class_smallest",
    "class_imbalance",
    "target_skew",
    "target_kurtosis",
    "target_distinct",
    "skew_mean",
    "skew_std",
    "kurtosis_mean",
    "kurtosis_std",
    "outliers",
    "correlation_mean",
    "correlation_max",
    "pca_first",
    "pca_half",
    "pca_95",
    "effective_rank",
    "mutual_information_mean",
    "mutual_information_max",
    "mutual_information_entropy",
    "landmark_1nn",
    "landmark_5nn",
    "landmark_stump",
    "landmark_bayes",
    "landmark_linear",
    "landmark_tree",
    "linear_gap",
)


def task_features(name: str, raw: dict[str, float], x: np.ndarray, y: np.ndarray, kind: str) -> dict[str, float]:
    """All FEATURES of a task.

    ``raw`` holds facts of the raw table (``columns``, ``categorical``, ``missing``, ``rows_with_missing``, ``image``);
    ``x`` float32 [training rows, inputs] and ``y`` [training rows] are the preprocessed training part of split 0 (of what
    is no table, its workload's view embedded). What concerns a target applies to classification and regression alone.
    """
    out = dict.fromkeys(FEATURES, np.nan)
    n, d = x.shape
    rows = np.argsort(row_hashes(f"{name}/features", 0, n), kind="stable")
    columns = np.sort(np.argsort(row_hashes(f"{name}/columns", 0, d), kind="stable")[:COLUMNS])
    sample = rows[:STATISTICS_ROWS]
    classes = len(np.unique(y)) if kind == "classification" else 0
    out |= {
        "log_rows": np.log(n),
        "log_columns": np.log(raw["columns"]),
        "log_inputs": np.log(d),
        "log_rows_per_input": np.log(n / d),
        "is_regression": float(kind == "regression"),
        "is_image": raw["image"],
        "share_categorical": raw["categorical"],
        "share_missing": raw["missing"],
        "rows_with_missing": raw["rows_with_missing"],
    }
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out |= _columns(x[sample][:, columns].astype(np.float64))
        if kind in ("classification", "regression"):
            out |= _target(y, classes)
            out |= _information(x[sample[:LANDMARK_ROWS]][:, columns], y[sample[:LANDMARK_ROWS]], kind)
            out |= _landmarks(x[rows[:LANDMARK_ROWS]], y[rows[:LANDMARK_ROWS]], kind)
    return {k: float(v) if np.isfinite(v) else np.nan for k, v in out.items()}


def _target(y: np.ndarray, classes: int) -> dict[str, float]:
    if classes:
        share = np.unique(y, return_counts=True)[1] / len(y)
        entropy = -(share * np.log(share)).sum() / np.log(max(classes, 2))
        return {
            "log_classes": np.log(classes),
            "class_entropy": entropy,
            "class_largest": share.max(),
            "class_smallest": share.min(),
            "class_imbalance": np.log(share.max() / share.min()),
        }
    z = (y - y.mean()) / y.std()
    return {
        "target_skew": (z**3).mean(),
        "target_kurtosis": (z**4).mean() - 3,
        "target_distinct": len(np.unique(y)) / len(y),
    }


def _columns(x: np.ndarray) -> dict[str, float]:
    z = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1.0)
    skew, kurtosis = (z**3).mean(0), (z**4).mean(0) - 3
    correlation = np.abs(np.corrcoef(z.T))[np.triu_indices(x.shape[1], 1)] if x.shape[1] > 1 else np.array([np.nan])
    spectrum = np.clip(np.linalg.eigvalsh(np.cov(z.T).reshape(x.shape[1], -1))[::-1], 0, None)
    share = spectrum / spectrum.sum()
    total = np.cumsum(share)
    positive = share[share > 0]
    found = {
        "share_binary": np.mean([len(np.unique(c)) == 2 for c in x.T]),
        "skew_mean": np.abs(skew).mean(),
        "skew_std": skew.std(),
        "kurtosis_mean": kurtosis.mean(),
        "kurtosis_std": kurtosis.std(),
        "outliers": (np.abs(z) > 3).mean(),
        "correlation_mean": np.nanmean(correlation),
        "correlation_max": np.nanmax(correlation),
        "pca_first": share[0],
        "pca_half": (np.searchsorted(total, 0.5) + 1) / len(share),
        "pca_95": (np.searchsorted(total, 0.95) + 1) / len(share),
        "effective_rank": np.exp(-(positive * np.log(positive)).sum()) / len(share),
    }
    return {name: float(value) for name, value in found.items()}


def _information(x: np.ndarray, y: np.ndarray, kind: str) -> dict[str, float]:
    """Mutual information of each column and the target, in nats, after cutting numbers into eight equal-mass bins."""
    if kind == "regression":
        y = np.searchsorted(np.quantile(y, np.linspace(0, 1, 9)[1:-1]), y, side="right")
    values = np.array(
        [_mutual(np.searchsorted(np.quantile(c, np.linspace(0, 1, 9)[1:-1]), c, side="right"), y) for c in x.T]
    )
    counts = np.unique(y, return_counts=True)[1] / len(y)
    entropy = -(counts * np.log(counts)).sum()
    return {
        "mutual_information_mean": values.mean(),
        "mutual_information_max": values.max(),
        "mutual_information_entropy": values.max() / entropy if entropy > 0 else np.nan,
    }


def _binned(a: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.quantile(a, np.linspace(0, 1, 9)[1:-1]), a, side="right")


def _mutual(a: np.ndarray, b: np.ndarray) -> float:
    _, a = np.unique(a, return_inverse=True)
    _, b = np.unique(b, return_inverse=True)
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1.0 / len(a))
    expected = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    on = joint > 0
    return float((joint[on] * np.log(joint[on] / expected[on])).sum())


def _landmarks(x: np.ndarray, y: np.ndarray, kind: str) -> dict[str, float]:
    """Scores of quick learners on the second half of a subsample after learning from the first: accuracy or R²."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    half = len(x) // 2
    if kind == "classification":
        learners = {
            "1nn": KNeighborsClassifier(1),
            "5nn": KNeighborsClassifier(5),
            "bayes": GaussianNB(),
            "stump": DecisionTreeClassifier(max_depth=1, random_state=0),
            "tree": DecisionTreeClassifier(random_state=0),
            "linear": LogisticRegression(max_iter=100),
        }
    else:
        learners = {
            "1nn": KNeighborsRegressor(1),
            "5nn": KNeighborsRegressor(5),
            "linear": Ridge(1.0),
            "stump": DecisionTreeRegressor(max_depth=1, random_state=0),
            "tree": DecisionTreeRegressor(random_state=0),
        }
    out = {}
    if half < 10 or len(np.unique(y[:half])) < 2:
        return out
    for name, learner in learners.items():
        out[f"landmark_{name}"] = max(-1.0, learner.fit(x[:half], y[:half]).score(x[half:], y[half:]))
    return out | {"linear_gap": out["landmark_tree"] - out["landmark_linear"]}
