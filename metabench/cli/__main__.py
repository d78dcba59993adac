"""``python -m metabench.cli``: the command line without its script."""

from metabench.cli import main

main(prog_name="metabench")
