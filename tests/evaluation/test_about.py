"""What traces say beside their rows survives filters, files and unions."""

import fakes
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeTable, board_for

from metabench import schema
from metabench.errors import MetabenchError
from metabench.evaluation import evaluate
from metabench.evaluation.about import About, read_published, together

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
    assert About.of(read_published(tmp_path / "traces.parquet", schema.TRACES)) == found


def test_a_union_knows_the_twins_of_both_and_the_surrogate_of_the_first():
    mine, others = (
        FACTS.put_on(schema.TRACES.empty_table()),
        About({"b": "c", "d": "e"}).put_on(schema.TRACES.empty_table()),
    )
    both = About.of(together(mine, others))
    assert (both.twins, both.board, len(both.surrogate)) == ({"b": "a", "d": "e"}, None, 1)
    assert About.of(together(others, mine)).surrogate is None


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
