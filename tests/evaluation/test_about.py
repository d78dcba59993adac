"""What traces say beside their rows survives filters, files and unions."""

import fakes
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeTable, board_for

from metabench import schema
from metabench.errors import MetabenchError
from metabench.evaluation import evaluate
from metabench.evaluation.about import About
from metabench.evaluation.traces import Traces

FACTS = About({"b": "a"}, "boards/x", "lite", ({"task_id": "t", "regret": 0.5},))


def test_facts_are_read_as_they_were_put_on_and_other_metadata_stays(tmp_path):
    plain = schema.TRACES.empty_table()
    told = FACTS.put_on(plain)
    assert About.of(plain) == About() and About.of(told.slice(0, 0)).twins == {"b": "a"}
    found = About.of(told)
    assert (found.board, found.profile, list(found.surrogate)) == ("boards/x", "lite", list(FACTS.surrogate))
    assert told.schema.metadata.items() >= plain.schema.metadata.items()
    assert About.of(About().put_on(told)) == About()
    pq.write_table(told, tmp_path / "traces.parquet")
    assert Traces.read(tmp_path / "traces.parquet", schema.TRACES).about == found


def test_a_union_knows_the_twins_of_both_and_the_surrogate_of_the_first():
    mine, others = (
        FACTS.put_on(schema.TRACES.empty_table()),
        About({"b": "c", "d": "e"}).put_on(schema.TRACES.empty_table()),
    )
    mine, others = Traces.of(mine), Traces.of(others)
    both = mine.beside(others).about
    assert (both.twins, both.board, len(both.surrogate)) == ({"b": "a", "d": "e"}, None, 1)
    assert others.beside(mine).about.surrogate is None


@pytest.mark.parametrize("kind", [schema.TRACES, schema.LIVE, schema.FOLDED])
def test_traces_of_every_kind_survive_a_file_a_union_and_a_choice(kind, tmp_path):
    values = {"method": "a", "start": "own", "task_id": "t", "fold": "1.1", "engine": "e", "device": "d", "cell": "c"}
    rows = pa.Table.from_pylist([{n: values.get(n) for n in kind.names} | {"method": m} for m in "ab"], kind)
    made = Traces(rows, FACTS)
    made.write(tmp_path / "traces.parquet")
    read = Traces.read(tmp_path / "traces.parquet", kind)
    assert read.kind is kind and read.methods == ["a", "b"] and read.about == Traces.of(made.arrow()).about
    assert read.without("a").methods == ["b"] and read.beside(Traces.none(kind)).rows.num_rows == 2
    assert read.beside(read.without("a")).rows["method"].to_pylist() == ["a", "b", "b"]


@pytest.mark.parametrize("key", ["metabench.twins", "metabench.board", "metabench.surrogate"])
@pytest.mark.parametrize("text", ["{", "[1]", "\xff", "[" * 100_000])
def test_facts_that_cannot_be_read_are_one_line(key, text):
    if (key, text) == ("metabench.surrogate", "[1]"):
        text = "nan["
    traces = schema.TRACES.empty_table().replace_schema_metadata({key.encode(): text.encode("latin-1")})
    with pytest.raises(MetabenchError, match="traces: what they say of methods, board or surrogate cannot be read"):
        About.of(traces)


def test_an_evaluation_says_its_twins_and_its_board(tmp_path):
    from dataclasses import replace

    table = FakeTable.planted(tasks=8)
    board = board_for(table, budget=3, seeds=1, starts=("own",))
    told = About.of(evaluate([fakes.First, fakes.Last], replace(board, path=tmp_path), table))
    assert told == About({"last": "first"}, str(tmp_path), "full")
    assert isinstance(evaluate(fakes.First, board, table), pa.Table)
