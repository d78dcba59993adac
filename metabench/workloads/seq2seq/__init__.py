"""A sequence made of a sequence: a recurrent encoder and decoder with attention (Bahdanau et al., 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metabench.space import Choice, Float, Ordinal, Space
from metabench.tasks.views import TARGET
from metabench.workloads.base import COMMON, Workload
from metabench.workloads.seq2seq.shape import COMPARED, GATES


class Seq2seq(Workload):
    """Tokens are embedded in ``embedding`` numbers. A cell of ``units`` reads the source, aligned at its end; one like it goes
    on from its last state and writes the target, told the token before. ``attention``: every state looks at all states of
    the reader, weighted by softmax of their products over sqrt(units) (dot; Luong et al., 2015) or of v · tanh(Q state +
    K read) (additive); state and weighted mean → dropout → a linear layer.

    While training the token before is the true one with probability ``teacher_forcing``, else what the network says there
    when it is told the truth all along (parallel scheduled sampling: Duckworth et al., 2019). The loss is cross-entropy per
    token of the target; the score the share of targets that greedy decoding writes without a mistake.

    Weights of cells are uniform with standard deviation ``1 / sqrt(3 units)``, of embeddings ``1/2``, others ``1 /
    sqrt(fan_in)``; biases zero.
    """

    name = "seq2seq"
    space = COMMON | Space(
        learning_rate=Float(1e-4, 1.0, log=True, default=1e-2),
        batch_size=Ordinal(16, 32, 64, default=16),
        clip=Choice("none", "norm", default="norm"),
        cell=Choice("lstm", "gru", default="gru"),
        units=Ordinal(16, 32, 64, default=32),
        embedding=Ordinal(8, 16, default=16),
        attention=Choice("none", "dot", "additive", default="additive"),
        teacher_forcing=Float(0.5, 1.0, default=1.0),
        dropout=Float(0.0, 0.6, default=0.1),
    )
    kinds = ("pairs",)
    modalities = ("text",)
    view = "pairs"
    rows = (1024, 256)
    epochs = 18

    def build(self, arrays, config: dict[str, Any], seed: int):
        from metabench.workloads.seq2seq.network import Network

        return Network(arrays, config, seed)

    def cohort_class(self) -> type:
        from metabench.workloads.seq2seq.cohort import Seq2seqCohort

        return Seq2seqCohort

    def learners(self, arrays, configs, seeds, data, epochs: int):
        from metabench.workloads.seq2seq.cohort import Writers

        return Writers(arrays, configs, seeds, data, epochs)

    def alone(self, arrays, config: dict[str, Any], seed: int, data, epochs: int):
        from metabench.workloads.seq2seq.network import Alone

        return Alone(self, arrays, config, seed, data, epochs)

    def references(self, arrays) -> dict[str, float]:
        """Rules of endings, of the training rows."""
        from metabench.workloads.seq2seq.rules import share

        return {"rules of endings": share(arrays)}

    def params(self, arrays, config: dict[str, Any]) -> int:
        units, width, outputs = int(config["units"]), int(config["embedding"]), arrays.n_outputs
        cells = 2 * GATES[config["cell"]] * units * (width + 1 + units)
        seen = units if config["attention"] == "none" else 2 * units
        attention = COMPARED * (2 * units + 1) if config["attention"] == "additive" else 0
        return (arrays.vocabulary + outputs) * width + cells + attention + (seen + 1) * outputs

    def flops(self, arrays, config: dict[str, Any], epochs: int) -> int:
        units, width, n = int(config["units"]), int(config["embedding"]), len(arrays.x_train)
        source, target = arrays.shape[0], TARGET
        cell = 6 * GATES[config["cell"]] * units * (width + 1 + units)
        writing = 6 * units * arrays.n_outputs * (1 if config["attention"] == "none" else 2)
        if config["attention"] == "dot":
            writing += 12 * source * units
        elif config["attention"] == "additive":
            writing += 6 * source * (units + COMPARED) + 6 * units * COMPARED
        # what the network says when it is told the truth all along: a further way forward
        told = 1 if config["teacher_forcing"] == 1.0 else 4 / 3
        batch = min(int(config["batch_size"]), n)
        return round(source * cell + target * (cell + writing) * told) * (n // batch) * batch * epochs

    def work(self, arrays, config: dict[str, Any], checkpoints: Sequence[int]) -> dict[str, float]:
        out = super().work(arrays, config, checkpoints)
        source, target = arrays.shape[0], TARGET
        told = 1 if config["teacher_forcing"] == 1.0 else 4 / 3
        units = out["examples"] * (source + target * told) * int(config["units"])
        compared = out["examples"] * source * target * COMPARED * told
        return out | {
            "evaluated": out["evaluated"] * (source + target),
            "moments": out["steps"] * (source + target * told),
            "units": units,
            "lstm units": units * (config["cell"] == "lstm"),
            "compared": compared * (config["attention"] == "additive"),
        }
