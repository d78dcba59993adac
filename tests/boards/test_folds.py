"""Folds: nobody learns from what it is tested on, and everything is held out once in each partition."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metabench.boards.folds import Fold, deal, held_out, joined, problems, sources
from metabench.errors import UsageError


def tasks(n=60, seed=0):
    """Families of one to three tasks, two that share rows with a third, and donors of one task each at the end."""
    rng = np.random.default_rng(seed)
    families = [f"f{i}" for i in range(n)]
    rows = [(f"{f}_{j}", f) for f in families for j in range(int(rng.integers(1, 4)))]
    rows += [("mix_a", "f0+f1"), ("mix_b", "f1+f2")]
    frame = pd.DataFrame(rows, columns=["task_id", "family"])
    frame["n_rows"] = rng.integers(100, 50_000, len(frame))
    return frame


def admitted(frame, donors=10):
    return [t for t, f in zip(frame["task_id"], frame["family"]) if f not in {f"f{i}" for i in range(60 - donors, 60)}]


@pytest.mark.parametrize("seed", range(5))
def test_no_family_is_on_both_sides_and_no_confirmatory_one_on_any(seed):
    frame = tasks(seed=seed)
    secret = ["f3", "f4+new"]
    mine = [t for t in admitted(frame) if frame.set_index("task_id")["family"][t] not in ("f3", "f4")]
    folds = deal(frame, mine, seed=seed, confirmatory=secret)
    assert problems(folds, secret) == []
    for fold in folds:
        assert not {"f3", "f4", "f4+new"} & {*fold.train, *fold.test}
        learned = {p for t in sources(fold, frame) for p in frame.set_index("task_id")["family"][t].split("+")}
        assert not learned & {p for f in fold.test for p in f.split("+")}


def test_every_admitted_task_is_held_out_once_in_each_partition():
    frame = tasks()
    mine = admitted(frame)
    folds = deal(frame, mine, seed=1, partitions=2)
    assert len(folds) == 10 and len({fold.name for fold in folds}) == 10
    for partition in range(2):
        out = [t for fold in folds if fold.partition == partition for t in held_out(fold, frame, mine)]
        assert sorted(out) == sorted(mine)


def test_donors_are_always_learned_from_and_never_held_out():
    frame = tasks()
    for fold in deal(frame, admitted(frame), seed=1):
        assert {f"f{i}" for i in range(50, 60)} <= set(fold.train)


def test_partitions_differ_and_follow_from_the_seed():
    frame = tasks()
    a, b, c = (deal(frame, admitted(frame), seed=s) for s in (1, 1, 2))
    assert a == b and a != c
    assert {f.test for f in a if f.partition == 0}.isdisjoint({f.test for f in a if f.partition == 1})
    shuffled = frame.sample(frac=1, random_state=0)
    assert deal(shuffled, admitted(shuffled), seed=1) == a


@pytest.mark.parametrize("seed", range(5))
def test_folds_are_balanced_by_tasks_and_size(seed):
    frame = tasks(seed=seed)
    mine = admitted(frame)
    small = frame.set_index("task_id")["n_rows"] < frame["n_rows"].median()
    folds = [held_out(fold, frame, mine) for fold in deal(frame, mine, seed=seed)]
    counts = [len(ids) for ids in folds]
    assert max(counts) - min(counts) <= 4
    assert max(sum(small[t] for t in ids) for ids in folds) <= 0.8 * max(counts)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.frozensets(st.sampled_from("abcdefghij"), min_size=1, max_size=2), min_size=1, max_size=8))
def test_joined_families_share_no_rows(parts):
    groups = joined("+".join(sorted(p)) for p in parts)
    seen = [{m for name in group for m in name.split("+")} for group in groups]
    assert all(a.isdisjoint(b) for i, a in enumerate(seen) for b in seen[:i])


def test_problems_are_found():
    overlap = Fold(0, 0, ("a", "b+c"), ("c",))
    assert "shares rows with 'b+c'" in problems([overlap])[0]
    assert "confirmatory" in problems([Fold(0, 0, ("a",), ("z",))], ["a+q"])[0]


def test_what_cannot_be_dealt_is_refused():
    frame = tasks()
    with pytest.raises(UsageError, match="not in the table"):
        deal(frame, ["nosuch"], seed=0)
    with pytest.raises(UsageError, match="confirmatory family 'f5'"):
        deal(frame, admitted(frame), seed=0, confirmatory=["f5"])
    with pytest.raises(UsageError, match="too few for 5 folds"):
        deal(frame, ["f7_0", "f8_0"], seed=0)
