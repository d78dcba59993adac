"""Tables on disk: written atomically, read lazily, verified, described, trained again."""

from metabench.table.find import find_table, load_table, table_names
from metabench.table.join import join
from metabench.table.read import Table
from metabench.table.verify import verify
from metabench.table.write import TableWriter

__all__ = ["Table", "TableWriter", "find_table", "join", "load_table", "table_names", "verify"]
