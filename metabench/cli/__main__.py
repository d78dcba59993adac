"""``metabench`` and ``python -m metabench.cli``: a command, and the end of the process."""

from metabench.cli import main


def run() -> None:
    """Run the command of ``sys.argv`` and exit with its status."""
    main.main(prog_name="metabench", last=True)


if __name__ == "__main__":
    run()
