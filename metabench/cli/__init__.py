"""The command line: thin commands over the library.

Data goes to stdout, progress to stderr. Exit status: 0 done, 1 failed, 2 wrong usage, 3 finished with missing or failed
runs, 130 interrupted, 143 ended by SIGTERM. A mistake is one line; METABENCH_DEBUG=1 shows where it was raised.
"""

from __future__ import annotations

import click

from metabench.cli import advise, boards, exchange, explain, look, reports, share, tables
from metabench.cli.group import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="metabench")
def main() -> None:
    """Tables, meta-models and a benchmark for meta-learned hyperparameter optimisation of deep networks.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 finished with missing or failed runs, 130 interrupted, 143
    ended by SIGTERM.
    """


for module in (look, tables, share, boards, reports, exchange, advise, explain):
    for command in module.COMMANDS:
        main.add_command(command)
