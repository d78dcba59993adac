"""Encoder and decoder: what is told and what is seen, padding, greedy decoding, rules of endings to compare with."""

import numpy as np
import pytest
import torch

from metabench import registry
from metabench.tasks.sample import sample
from metabench.training import run_cohort
from metabench.training.data import Data
from metabench.workloads.seq2seq import rules as known
from metabench.workloads.seq2seq.network import after_end, packed

WORKLOAD = registry.create("workloads", "seq2seq")
ARRAYS = sample("pairs", 64)
BASE = WORKLOAD.space.default() | {"batch_size": 16, "units": 16, "embedding": 8}


def learners(*changes: dict, seeds=None, dtype=torch.float64):
    configs = WORKLOAD.space.table([BASE | change for change in changes])
    seeds = np.arange(len(changes)) if seeds is None else np.asarray(seeds)
    runs = WORKLOAD.learners(ARRAYS, configs, seeds, Data.of(ARRAYS, "cpu", dtype), 2)
    runs.begin(0)
    return runs


def test_sources_are_aligned_at_their_end_and_the_decoder_is_told_one_place_later():
    x, y = torch.tensor([[5, 6, 0, 0], [2, 3, 4, 9]]), torch.tensor([[7, 8, 1, 0], [7, 1, 0, 0]])
    data = packed(Data(dict.fromkeys(("train", "valid", "test"), (x, y)), torch.float64))
    assert data["train"][0].tolist() == [[0, 0, 5, 6, 0, 7, 8, 1], [2, 3, 4, 9, 0, 7, 1, 0]]
    assert after_end(y).tolist() == [[False, False, False, True], [False, False, True, True]]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("attention", ["none", "dot", "additive"])
def test_gradients_are_those_of_the_plain_network(cell, attention):
    """Of every parameter, run by run, with some tokens not told."""
    change = {"cell": cell, "attention": attention, "teacher_forcing": 0.6, "dropout": 0.3}
    widths = [8, 16]
    runs = learners(*({**change, "embedding": width} for width in widths))
    rows = runs.batches.at(0)
    y = ARRAYS.y_train[rows]
    with torch.no_grad():
        outputs = runs.networks.forward(rows, 0)
        there = torch.as_tensor(y.reshape(2, 1, -1) > 0).double()
        hot = torch.nn.functional.one_hot(torch.as_tensor(y.reshape(2, -1)).long(), outputs.shape[1]).mT
        runs.networks.backward((torch.softmax(outputs, 1) - hot) * there / there.sum(2, keepdim=True))
    for r, width in enumerate(widths):
        alone = WORKLOAD.alone(
            ARRAYS, BASE | change | {"embedding": width}, r, Data.of(ARRAYS, "cpu", torch.float64), 2
        )
        alone.net.train()
        alone._loss(alone.net(alone.data["train"][0][rows[r]]), alone.data["train"][1][rows[r]]).backward()
        pairs = {
            "source": alone.net.source.weight.grad,
            "target": alone.net.target.weight.grad,
            "reads state": alone.net.reads.weight_hh_l0.grad,
            "writes state": alone.net.writes.weight_hh_l0.grad,
            "reads inputs": alone.net.reads.weight_ih_l0.grad[:, :-1],
            "writes bias": alone.net.writes.weight_ih_l0.grad[:, -1],
            "says": alone.net.says.weight.grad.T,
        }
        for name, expected in pairs.items():
            found = runs.networks.w[name].grad[r]
            own = tuple(map(slice, expected.shape))
            assert torch.allclose(found[own], expected, atol=1e-12), name
            assert found.count_nonzero() == found[own].count_nonzero(), f"{name}: padding moves"


def test_what_is_told_is_hashed_and_counts_only_below_one():
    runs = learners({"teacher_forcing": 1.0}, {"teacher_forcing": 0.5}, {"teacher_forcing": 0.5}, seeds=[3, 3, 4])
    with torch.no_grad():
        told = []
        for step in (0, 0, 1):
            runs.networks.forward(runs.batches.at(0), step)
            told.append(runs.networks.told.clone())
    truth = runs.data["train"][0][runs.batches.at(0)][..., ARRAYS.shape[0] :]
    assert torch.equal(told[0][0], truth[0]) and torch.equal(told[0], told[1]) and not torch.equal(told[0], told[2])
    changed = (told[0][1] != truth[1]).double().mean().item()
    assert 0.2 < changed < 0.6 and (told[0][:, :, 0] == 0).all()


def test_attention_sees_no_padding():
    """Whatever the reader's states are where there is no letter."""
    config = BASE | {"attention": "dot"}
    net = WORKLOAD.build(ARRAYS, config, 0).eval()
    states, told = torch.randn(2, 4, 16, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.long)
    last = torch.zeros(1, 2, 16, dtype=torch.float64)
    there = torch.tensor([[False, False, True, True]] * 2)
    with torch.no_grad():
        one, _ = net.write(told, (states, last, there))
        states[:, :2] = 99.0
        other, _ = net.write(told, (states, last, there))
    assert torch.equal(one, other)


def test_greedy_decoding_together_is_that_of_the_plain_network():
    runs = learners({}, {"embedding": 16}, {})
    with torch.no_grad():
        for step in range(runs.steps):
            runs.advance(step)
        x, y = runs.data["valid"]
        runs.networks.judge(x[:7])
        said = runs.networks.decode()
    for r, width in enumerate((8, 16, 8)):
        alone = WORKLOAD.alone(ARRAYS, BASE | {"embedding": width}, r, Data.of(ARRAYS, "cpu", torch.float64), 2)
        alone.epoch(0)
        alone.net.eval()
        with torch.no_grad():
            expected = alone.net.decode(alone.data["valid"][0][:7, : ARRAYS.shape[0]], y.shape[1])
        ended = after_end(expected)
        assert (said[r][~ended] == expected[~ended]).all() and (said[r] != 0).any()


def test_attention_lets_it_turn_words_round():
    """Turning letters round, with attention most unseen words come out right; chance is 0."""
    arrays = sample("pairs", 512)
    changes = {"attention": "dot", "units": 32, "embedding": 16, "learning_rate": 1e-2}
    configs = WORKLOAD.space.table([BASE | changes])
    curves = run_cohort(WORKLOAD, arrays, configs, [0], (12,), backend="batched")
    assert curves.test_score[0, -1] > 0.4


def test_rules_of_endings_are_found_and_applied():
    """Letters of sources have codes of their own; 40 is a tag under which the last letter gives way to two others."""
    rng = np.random.default_rng(0)
    words = [rng.integers(10, 20, size=rng.integers(2, 6)).tolist() for _ in range(300)]
    pairs = [([40, *(w + 12 for w in word)], [*word[:-1], 10, 11]) for word in words]
    pairs += [([41, *(w + 12 for w in word)], word) for word in words]
    assert known.letters(pairs) == {w + 12: w for w in range(10, 20)}
    made = known.rules(pairs[:200] + pairs[300:500])
    assert np.mean([made(source) == target for source, target in pairs[200:300]]) > 0.9
    assert all(made(source) == target for source, target in pairs[500:])
