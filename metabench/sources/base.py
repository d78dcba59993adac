"""What a source is: something that lists data sets and loads one by its name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from metabench.brief import brief

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


#: source of a person's own data
OWN = "user"


@brief
@dataclass(frozen=True)
class Listing:
    """What is known of a data set before its data is read."""

    name: str
    #: classification, regression, multilabel, language (a corpus), pairs (sequence to sequence), forecasting, control,
    #: episodes (few-shot) or transfer
    kind: str
    #: tabular, image, series, audio or text
    modality: str
    n_rows: int
    #: changes whenever the data does; part of the key under which its prepared arrays are cached
    fingerprint: str
    #: of texts: what a token is, word or character
    unit: str = "word"
    #: columns of a table that a model may see; 0 where it is no table
    features: int = 0
    #: simulated or enumeration, where no measurement made the rows
    made: str = ""


@brief
@dataclass(frozen=True)
class Dataset:
    """Raw data as its source has it: nothing imputed, scaled or left out but what leaks the target.

    ``X`` is a DataFrame [rows, columns] for tables; an array [rows, height, width(, colours)] for images; a list of arrays
    [channels, T] for series (one alone, of a forecast) or [samples] for sounds; a list of strings for texts, of (source,
    target) token lists for pairs, or one string, a corpus. Missing numbers are NaN. ``y`` is a Series [rows] of labels
    (classification) or numbers (regression), a DataFrame [rows, labels] of 0/1 (multilabel), or None.
    """

    name: str
    #: data sets of one family share rows and never stand on both sides of a split between tasks
    family: str
    source: str
    modality: str
    kind: str
    #: by modality: a DataFrame, an ndarray, a list (of series, sounds, texts or pairs of texts), or the name of a system
    X: Any
    y: pd.Series | pd.DataFrame | None
    #: columns of X whose values are names, not numbers
    categorical: tuple[str, ...] = ()
    #: [rows] or None: rows of one group (a person, say) never stand on both sides of a split between rows
    groups: np.ndarray | None = field(default=None, repr=False)
    #: rows are in time order: the first are trained on, the last are tested on
    temporal: bool = False
    #: of texts: what a token is, word or character
    unit: str = "word"
    #: of sounds: samples a second
    rate: int = 0
    #: of episodes: classes of each, and rows of a class that it shows
    ways: int = 0
    shots: int = 0
    #: of a transfer: the data set that is learned first
    first: Dataset | None = field(default=None, repr=False)
    licence: str = ""
    url: str = ""
    notes: str = ""

    @property
    def own(self) -> bool:
        """Whether it is a person's own data. Its rows' places in a split do not follow from its name, its wide tables keep
        their most telling columns, its rare classes are repeated in training."""
        return self.source == OWN


@runtime_checkable
class Source(Protocol):
    """A place that data sets come from. Plug-ins are classes with this protocol in ``metabench/sources/<name>.py`` or
    behind the entry-point group ``metabench.sources``; they can be made without arguments.
    """

    name: str

    def names(self) -> list[str]:
        """Data sets of this source, each ``[a-z0-9_]+``, whether or not their files are here."""
        ...

    def listing(self, name: str) -> Listing:
        """Facts about a data set, without reading it. Raises UsageError for an unknown name."""
        ...

    def load(self, name: str) -> Dataset:
        """The data set. Raises UsageError for an unknown name, MetabenchError when its data cannot be had."""
        ...
