"""Text classification by a bag of embeddings, in the manner of fastText (Joulin et al., 2017)."""

from __future__ import annotations

from typing import Any

import numpy as np

from metabench.space import Choice, Float, Ordinal, Space, is_classification, when
from metabench.tasks.metrics import score
from metabench.workloads.base import COMMON, Workload


class Text(Workload):
    """The embeddings of a text's tokens, and of its pairs of neighbours where there are ``ngrams``, are averaged; dropout,
    then a linear layer. Pairs share ``buckets`` embeddings by a hash.

    Embeddings are uniform with standard deviation ``init_scale / sqrt(width)``, the linear layer's weights with
    ``1 / sqrt(width)``, its bias is zero.
    """

    name = "text"
    space = COMMON | Space(
        learning_rate=Float(1e-4, 1.0, log=True, default=0.02),
        batch_size=Ordinal(32, 64, 128, 256, default=32),
        width=Ordinal(8, 16, 32, 64, default=32),
        ngrams=Choice("none", "pairs", default="pairs"),
        buckets=Ordinal(256, 512, 1024, 2048, default=1024, when=when("ngrams", "pairs")),
        dropout=Float(0.0, 0.6, default=0.1),
        init_scale=Float(0.03, 3.0, log=True, default=0.3),
        label_smoothing=Float(0.0, 0.2, default=0.0, when=is_classification),
    )
    kinds = ("classification", "regression")
    modalities = ("text",)
    view = "words"
    rows = (2048, 1024)
    epochs = 12

    def build(self, arrays, config: dict[str, Any], seed: int):
        from metabench.workloads.text.network import Network

        return Network(arrays, config, seed)

    def cohort_class(self) -> type:
        from metabench.workloads.text.cohort import TextCohort

        return TextCohort

    def params(self, arrays, config: dict[str, Any]) -> int:
        width = int(config["width"])
        return self.tokens(arrays, config) * width + (width + 1) * arrays.n_outputs

    @staticmethod
    def tokens(arrays, config: dict[str, Any]) -> int:
        """Rows of the table of embeddings: one for each token and each bucket."""
        return arrays.vocabulary + (int(config["buckets"]) if config["ngrams"] == "pairs" else 0)

    def flops(self, arrays, config: dict[str, Any], epochs: int) -> int:
        n, width = len(arrays.x_train), int(config["width"])
        batch = min(int(config["batch_size"]), n)
        read = arrays.shape[0] * (2 if config["ngrams"] == "pairs" else 1)
        return (2 * read * width + 6 * width * arrays.n_outputs) * (n // batch) * batch * epochs

    def references(self, arrays) -> dict[str, float]:
        """A linear model on how often each token stands in a text, scaled by inverse document frequency."""
        from scipy.sparse import csr_matrix
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.linear_model import LogisticRegression, Ridge

        def counts(x):
            rows, columns = np.nonzero(x)
            ones = np.ones(len(rows))
            return csr_matrix((ones, (rows, x[rows, columns])), shape=(len(x), arrays.vocabulary))

        scale = TfidfTransformer(sublinear_tf=True).fit(counts(arrays.x_train))
        x_train, x_test = (scale.transform(counts(x)) for x in (arrays.x_train, arrays.x_test))
        balanced = "balanced" if arrays.metric == "balanced_accuracy" else None
        model = Ridge() if arrays.n_classes == 0 else LogisticRegression(C=10.0, max_iter=300, class_weight=balanced)
        return {
            "tf-idf, linear": score(arrays.metric, model.fit(x_train, arrays.y_train).predict(x_test), arrays.y_test)
        }
