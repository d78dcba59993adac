"""What each task feature is, and its unit: the descriptions of the columns ``feature_*``."""

from __future__ import annotations

_LANDMARK = "of {}, learned from 250 rows and scored on 250 others: accuracy, or R² where numbers are predicted"

#: feature → (description, unit)
MEANINGS: dict[str, tuple[str, str]] = {
    "log_rows": ("training rows", "natural logarithm of rows"),
    "log_columns": ("columns of the raw data", "natural logarithm of columns"),
    "log_inputs": ("network inputs after preprocessing", "natural logarithm of inputs"),
    "log_rows_per_input": ("training rows for each network input", "natural logarithm of rows an input"),
    "log_classes": ("classes", "natural logarithm of classes"),
    "is_regression": ("1 where a number is predicted, 0 elsewhere", "0 or 1"),
    "is_image": ("1 for images, 0 elsewhere", "0 or 1"),
    "share_categorical": ("raw columns whose values are names", "share of columns"),
    "share_missing": ("cells of the raw data without a value", "share of cells"),
    "rows_with_missing": ("raw rows with a cell without a value", "share of rows"),
    "share_binary": ("network inputs with two values", "share of inputs"),
    "class_entropy": ("entropy of the classes, divided by that of equal classes", "share"),
    "class_largest": ("rows of the largest class", "share of rows"),
    "class_smallest": ("rows of the smallest class", "share of rows"),
    "class_imbalance": ("largest class divided by the smallest", "natural logarithm of a ratio"),
    "target_skew": ("third standardised moment of the target", "none"),
    "target_kurtosis": ("fourth standardised moment of the target, less 3", "none"),
    "target_distinct": ("different values of the target", "share of rows"),
    "skew_mean": ("mean absolute third standardised moment of the inputs", "none"),
    "skew_std": ("standard deviation of the third standardised moment over the inputs", "none"),
    "kurtosis_mean": ("mean of the fourth standardised moment of the inputs, less 3", "none"),
    "kurtosis_std": ("standard deviation of the fourth standardised moment over the inputs", "none"),
    "outliers": ("inputs beyond three standard deviations", "share of cells"),
    "correlation_mean": ("mean absolute correlation of two inputs", "correlation"),
    "correlation_max": ("largest absolute correlation of two inputs", "correlation"),
    "pca_first": ("variance along the first principal component", "share of variance"),
    "pca_half": ("principal components that hold half of the variance", "share of inputs"),
    "pca_95": ("principal components that hold 95 % of the variance", "share of inputs"),
    "effective_rank": ("exponential of the spectrum's entropy", "share of inputs"),
    "mutual_information_mean": ("mean mutual information of an input and the target", "nats"),
    "mutual_information_max": ("largest mutual information of an input and the target", "nats"),
    "mutual_information_entropy": ("largest mutual information, divided by the target's entropy", "share"),
    "landmark_1nn": ("score " + _LANDMARK.format("the nearest neighbour"), "score"),
    "landmark_5nn": ("score " + _LANDMARK.format("the five nearest neighbours"), "score"),
    "landmark_stump": ("score " + _LANDMARK.format("a tree of one split"), "score"),
    "landmark_bayes": ("score " + _LANDMARK.format("naive Bayes"), "score"),
    "landmark_linear": ("score " + _LANDMARK.format("a linear model"), "score"),
    "landmark_tree": ("score " + _LANDMARK.format("a decision tree"), "score"),
    "linear_gap": ("landmark_tree less landmark_linear", "score"),
}
