"""What a workload is: the network, its search space, its loss; one file each, found by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from metabench.space import Choice, Float, Int, Ordinal, Space, when
from metabench.tasks.splits import EVALUATION_CAP, TRAIN_CAP
from metabench.tasks.task import CHECKPOINTS

#: hyperparameters that every gradient-trained workload shares
COMMON = Space(
    optimizer=Choice("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad", "lion", default="adamw"),
    learning_rate=Float(1e-4, 1.0, log=True, default=1e-3),
    momentum=Float(0.5, 0.99, reverse=True, default=0.9, when=when("optimizer", "momentum", "nesterov")),
    beta1=Float(0.5, 0.99, reverse=True, default=0.9, when=when("optimizer", "adam", "adamw", "lion")),
    beta2=Float(0.9, 0.9999, reverse=True, default=0.999, when=when("optimizer", "adam", "adamw", "rmsprop", "lion")),
    weight_decay=Float(1e-6, 1e-1, log=True, default=1e-4),
    batch_size=Ordinal(16, 32, 64, 128, 256, default=64),
    schedule=Choice("constant", "step", "exponential", "cosine", "one_cycle", default="cosine"),
    warmup=Float(0.0, 0.2, default=0.05),
    clip=Choice("none", "norm", default="none"),
    clip_norm=Float(0.1, 10.0, log=True, default=1.0, when=when("clip", "norm")),
)


class Workload:
    """Base of every workload. A subclass in ``metabench/workloads/<name>.py``, or in the ``__init__.py`` of a folder of that
    name, is all there is to adding one.

    ``build`` is the definition of truth: a plain ``torch.nn.Module`` trained by an ordinary loop (the sequential
    oracle). ``cohort_class`` gives the same network over a leading run axis; the contract test compares the two.
    """

    name: ClassVar[str]
    space: ClassVar[Space]
    #: kinds and modalities of data sets that it trains on
    kinds: ClassVar[tuple[str, ...]] = ("classification", "regression")
    modalities: ClassVar[tuple[str, ...]] = ("tabular",)
    #: how it sees them (:mod:`metabench.tasks.views`)
    view: ClassVar[str] = "flat"
    #: the metric; None: that of the kind of task (:mod:`metabench.tasks.metrics`)
    metric: ClassVar[str | None] = None
    #: training and evaluation rows, at most; epochs
    rows: ClassVar[tuple[int, int]] = (TRAIN_CAP, EVALUATION_CAP)
    epochs: ClassVar[int] = CHECKPOINTS[-1]

    @classmethod
    def accepts(cls, listing) -> bool:
        """Whether a data set is a task of this workload.

        Args:
            listing: its entry in the catalogue, a :class:`metabench.sources.base.Listing`.

        Returns:
            True where it is.
        """
        return listing.kind in cls.kinds and listing.modality in cls.modalities

    def build(self, arrays, config: dict[str, Any], seed: int):
        """The plain network of one configuration.

        Args:
            arrays: one split of a task.
            config: a configuration of ``space``.
            seed: decides the initial weights, by the seed's hashed stream.

        Returns:
            A ``torch.nn.Module``.
        """
        raise NotImplementedError

    def cohort_class(self) -> type:
        """The same networks over a run axis.

        Returns:
            A subclass of :class:`metabench.training.cohort.Cohort`.
        """
        raise NotImplementedError

    def learners(self, arrays, configs, seeds, data, epochs: int):
        """Runs that learn together: the networks of ``cohort_class`` under a supervised loss unless a workload says otherwise.

        Args:
            arrays: one split of a task.
            configs: configuration table of R runs.
            seeds: their seeds, int [R].
            data: the arrays as tensors on a device, the backend's ``Data``.
            epochs: how long they learn.

        Returns:
            A :class:`metabench.training.learners.Learners`.
        """
        from metabench.training.learners import Supervised

        return Supervised(self.cohort_class(), arrays, configs, seeds, data, epochs)

    def alone(self, arrays, config: dict[str, Any], seed: int, data, epochs: int):
        """One run by an ordinary loop, the twin of ``learners``.

        Args:
            arrays: one split of a task.
            config: a configuration of ``space``.
            seed: the run's seed.
            data: the arrays as tensors on a device.
            epochs: how long it learns.

        Returns:
            A :class:`metabench.training.sequential.Alone`.
        """
        from metabench.training.sequential import Supervised

        return Supervised(self, arrays, config, seed, data, epochs)

    def references(self, arrays) -> dict[str, float]:
        """Scores that a sound workload comes near; ``metabench reference`` shows them.

        Args:
            arrays: one split of a task.

        Returns:
            Test scores, by name, of strong methods that are not our networks (scikit-learn's, a closed form), fitted on
            the training rows.
        """
        return {}

    def steps(self, arrays, config: dict[str, Any]) -> int:
        """Updates in an epoch.

        Args:
            arrays: one split of a task, or sizes alone (:meth:`work`).
            config: a configuration of ``space``.

        Returns:
            How many there are.
        """
        n = len(arrays.x_train)
        return n // min(int(config["batch_size"]), n)

    def params(self, arrays, config: dict[str, Any]) -> int:
        """Size of a network.

        Args:
            arrays: one split of a task, or sizes alone (:meth:`work`).
            config: a configuration of ``space``.

        Returns:
            Number of trainable parameters.
        """
        raise NotImplementedError

    def flops(self, arrays, config: dict[str, Any], epochs: int) -> int:
        """Operations of the whole training: forward and backward; evaluation does not count.

        Args:
            arrays: one split of a task, or sizes alone (:meth:`work`).
            config: a configuration of ``space``.
            epochs: length of the training.

        Returns:
            Floating-point operations.
        """
        raise NotImplementedError

    def work(self, arrays, config: dict[str, Any], checkpoints: Sequence[int]) -> dict[str, float]:
        """Operations of a run, by kind; the same kinds for every configuration. Its seconds are a weighted sum of these
        (:mod:`metabench.generate.cost`), so a workload whose runs differ in more than this adds to it.

        ``arrays`` may hold sizes alone: ``shape``, ``n_features``, ``vocabulary``, ``n_outputs``, ``system`` and the
        lengths of ``x_train``, ``x_valid``, ``x_test``; ``shots``, ``source_classes``.

        Args:
            arrays: one split of a task, or sizes alone.
            config: a configuration of ``space``.
            checkpoints: epochs at which the run is evaluated.

        Returns:
            Kind of work → its amount.
        """
        epochs, batch = max(checkpoints), min(int(config["batch_size"]), len(arrays.x_train))
        steps, params = self.steps(arrays, config) * epochs, self.params(arrays, config)
        rows = len(arrays.x_train) + len(arrays.x_valid) + len(arrays.x_test)
        adaptive = config["optimizer"] not in ("sgd", "momentum", "nesterov", "lion")
        return {
            "runs": 1.0,
            "steps": float(steps),
            "examples": float(steps * batch),
            "flops": float(self.flops(arrays, config, epochs)),
            "updates": float(steps * params),
            "adaptive updates": float(steps * params * adaptive),
            "clipped": float(steps * params * (config["clip"] == "norm")),
            "evaluated": float(rows * params * len(checkpoints)),
        }


__all__ = ["COMMON", "Choice", "Float", "Int", "Ordinal", "Space", "Workload", "when"]
