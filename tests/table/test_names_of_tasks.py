"""Tasks and columns asked of a table by a name it does not have, or as text where a list is meant."""

import numpy as np
import pytest
from table_samples import write_table

from metabench import load_table
from metabench.errors import UsageError


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return load_table(write_table(tmp_path_factory.mktemp("t") / "named/v1", n_configs=4))


def first(table):
    return table.tasks["task_id"].iloc[0]


@pytest.mark.parametrize("ask", ["runs", "final", "ran", "curves", "seconds", "meta_train"])
def test_an_unknown_task_is_an_error_that_names_the_known_one(table, ask):
    name = first(table)
    workload = table.workloads[0]
    method = getattr(table, ask)
    call = (lambda ids: method(workload, tasks=ids)) if ask == "runs" else (lambda ids: method(workload, ids))
    short = name.partition("-")[2]
    for asked in ([short], short, [name, short]):
        with pytest.raises(UsageError, match=f"unknown task in table named '{short}'; did you mean .*'{name}'"):
            call(asked)
    with pytest.raises(UsageError, match="unknown task in table named 'zzz'"):
        call(["zzz"])
    one, listed = call(name), call([name])
    if isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, listed)
    else:
        assert len(getattr(one, "tasks", one)) == len(getattr(listed, "tasks", listed)) > 0


def test_one_column_may_be_text(table):
    assert table.runs(table.workloads[0], "seed").column_names == ["seed"]
    with pytest.raises(UsageError, match="unknown column 'sed'; did you mean 'seed'"):
        table.runs(table.workloads[0], "sed")
