"""Tables and boards for an installed package: listed with their sha256 in the wheel, fetched once, kept in the cache.

``registry.json`` lists the files of every published table and board. :func:`fetch` brings what the cache lacks from
the mirror that ``METABENCH_MIRROR`` names, or from the project's repository. Files are checked before they are put in
their place, and the file that makes a folder a table or a board comes last, so that nothing half-fetched is ever read.
"""

from metabench.downloads.fetching import cached, complete, fetch, folder, names, on_disk
from metabench.downloads.listing import KINDS, Entry, entries, find

__all__ = ["KINDS", "Entry", "cached", "complete", "entries", "fetch", "find", "folder", "names", "on_disk"]
