"""Meta-models that come fitted: good configurations for a new task without training, or learning, anything first.

>>> import metabench as mb
>>> model = mb.load_metamodel("mlp-v1")
>>> model.top_configs(mb.task_from_csv("my.csv", target="y"), k=5)

``metabench pretrain`` makes one from a table; those of this folder ship with the package.
"""

from metabench.pretrained.load import for_workload, load_metamodel, names
from metabench.pretrained.model import Pretrained
from metabench.pretrained.record import Record

__all__ = ["Pretrained", "Record", "for_workload", "load_metamodel", "names"]
