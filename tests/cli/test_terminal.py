"""Names of strangers reach the terminal as text, never as commands to it, and a mistake stays one line."""

import json

import click
import pytest

from metabench.cli.group import Commands
from metabench.cli.output import say, show
from metabench.errors import MetabenchError

EVIL = ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\r hidden", "\b\b\b", "\u202egnp.exe", "\x00", "\x7f", "\u2066x"]
ACTED_ON = {char for text in EVIL for char in text if not char.isprintable()}


@pytest.mark.parametrize("evil", EVIL)
def test_names_in_tables_notes_and_json_do_nothing(capsys, evil):
    show([{"name": f"a{evil}b", f"c{evil}d": 1}], False)
    show([{"name": f"a{evil}b"}], True, board=f"x{evil}")
    say(f"note {evil}", err=True)
    out, err = capsys.readouterr()
    assert not ACTED_ON & {*out, *err} and len(err.splitlines()) == 1 and "a" in out
    assert json.loads(out.splitlines()[-1])["rows"] == [{"name": f"a{evil}b"}]  # JSON says what it was


def test_text_of_our_own_is_left_alone(capsys):
    say("regret 0.1 ± 0.05, 95 % interval\tµs\nsecond line ü 方法")
    assert capsys.readouterr().out == "regret 0.1 ± 0.05, 95 % interval\tµs\nsecond line ü 方法\n"


@pytest.mark.parametrize("evil", [*EVIL, "x" * 600_000, "a\nb\nc"])
def test_a_mistake_is_one_bounded_line(capsys, evil):
    @click.group(cls=Commands)
    def group():
        pass

    @group.command()
    def fail():
        raise MetabenchError(f"column {evil} is odd")

    @group.command()
    def crash():
        raise RuntimeError(evil)

    for name in ("fail", "crash"):
        with pytest.raises(SystemExit) as ended:
            group.main([name])
        err = capsys.readouterr().err
        assert ended.value.code == 1 and len(err.splitlines()) == 1 and len(err) < 4100
        assert err.rstrip("\n").isprintable()
