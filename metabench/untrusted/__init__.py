"""The one entrance for bytes that a stranger may have written: bounded in size, memory and time, and never run.

Every reader of a data file, a submission, a model file, a cache or another project's table goes through here. Each
function raises one line that names the file and the limit; none of them follows what a file claims about its own size.
`docs/security.md` states which files are trusted with what.
"""

from metabench.untrusted.arrays import image, npy, npz
from metabench.untrusted.arrow import arrow_batches
from metabench.untrusted.child import bounded
from metabench.untrusted.files import (
    LIMIT,
    gunzip,
    lines,
    open_regular,
    parse_json,
    parse_toml,
    read_bytes,
    read_json,
    read_lines,
    read_toml,
    unzip,
)
from metabench.untrusted.owner import exposed
from metabench.untrusted.parquet import open_parquet, parquet
from metabench.untrusted.text import one_line, printable

__all__ = [
    "LIMIT",
    "arrow_batches",
    "bounded",
    "exposed",
    "gunzip",
    "image",
    "lines",
    "npy",
    "npz",
    "one_line",
    "open_parquet",
    "open_regular",
    "parquet",
    "parse_json",
    "parse_toml",
    "printable",
    "read_bytes",
    "read_json",
    "read_lines",
    "read_toml",
    "unzip",
]
