"""How fast networks are trained here: the engine beside the ordinary loop at its best, and JAX, in one run.

Every contender trains the same jobs in the same worker processes. Repeats are interleaved and the best of each counts: on
a machine that is shared, noise only slows down.
"""

from metabench.speed.compare import Row, measure
from metabench.speed.jobs import JOBS, Job, find

__all__ = ["JOBS", "Job", "Row", "find", "measure"]
