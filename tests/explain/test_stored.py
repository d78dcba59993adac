"""A survey is made once: the second one is read, to the last bit, and only of the same scores."""

import numpy as np
import pandas as pd
import pytest

import metabench as mb
from metabench.explain import stored, survey

TASKS = ["rnn-japanese_vowels", "rnn-basic_motions"]


@pytest.fixture(scope="module")
def table():
    held = mb.load_table("starter")
    known = held.tasks.loc[held.tasks["workload"] == "rnn", "task_id"].tolist()
    TASKS[:] = known[:2]
    return held


def same(a, b):
    pd.testing.assert_frame_equal(a[0], b[0], check_exact=True)
    assert list(a[1]) == list(b[1])
    for name in a[1]:
        pd.testing.assert_frame_equal(a[1][name], b[1][name], check_exact=True)


def test_the_second_is_read_to_the_last_bit(table, tmp_path, monkeypatch):
    made = stored.stored_survey(table, "rnn", TASKS, folder=tmp_path)
    same(made, survey(table, "rnn", TASKS))
    monkeypatch.setattr(stored, "survey", lambda *args: pytest.fail("it was made again"))
    same(made, stored.stored_survey(table, "rnn", TASKS, folder=tmp_path))


def test_damage_other_tasks_and_a_closed_folder_make_it_anew(table, tmp_path, monkeypatch):
    answer = pd.DataFrame({"share": [0.5, np.nan], "task_id": ["a", "b"]}), {"x": pd.DataFrame({"value": ["p", 1]})}
    calls = []
    monkeypatch.setattr(stored, "survey", lambda *args: calls.append(args) or answer)
    for tasks in (TASKS[:1], TASKS, TASKS[:1]):
        same(answer, stored.stored_survey(table, "rnn", tasks, folder=tmp_path / "kept"))
    assert len(calls) == 2
    for path in (tmp_path / "kept").iterdir():
        path.write_text('{"importance": {}')
    stored.stored_survey(table, "rnn", TASKS, folder=tmp_path / "kept")
    assert len(calls) == 3
    (tmp_path / "file").write_text("")
    same(answer, stored.stored_survey(table, "rnn", TASKS, folder=tmp_path / "file" / "below"))
    assert len(calls) == 4
