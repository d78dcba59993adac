"""What is special to the transformer: it cannot see what it is to say, positions, norms, and a loss in bits."""

import numpy as np
import pytest
import torch

from metabench import registry, tasks
from metabench.tasks.sample import sample
from metabench.training import run_cohort
from metabench.training.data import Data
from metabench.workloads.transformer import interpolated

TRANSFORMER = registry.create("workloads", "transformer")
ARRAYS = sample("language", 48)


def table(*changes):
    return TRANSFORMER.space.table([TRANSFORMER.space.default() | change for change in changes])


def networks(config, dtype=torch.float64):
    data = Data.of(ARRAYS, "cpu", dtype)
    with torch.no_grad():
        return TRANSFORMER.learners(ARRAYS, config, np.arange(len(config)), data, 1).networks


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("layers", [1, 2])
def test_it_cannot_see_what_is_to_come(norm, layers):
    runs = networks(table({"norm": norm, "layers": layers, "heads": 4}))
    tokens = torch.as_tensor(ARRAYS.x_valid[:3], dtype=torch.long)
    other = tokens.clone()
    other[:, 20:] = 1 + other[:, 20:] % 47
    before, after = (runs.predict(x).view(48, 3, -1) for x in (tokens, other))
    assert torch.equal(before[:, :, :20], after[:, :, :20])
    assert not torch.isclose(before[:, :, 20:], after[:, :, 20:]).all()


def test_without_positions_the_last_letter_sees_a_bag_with_them_an_order():
    configs = table(*({"positions": kind, "embedding_scale": 1.0} for kind in ("none", "learned", "sinusoid")))
    runs = networks(configs)
    tokens = torch.as_tensor(ARRAYS.x_valid[:2], dtype=torch.long)
    turned = torch.cat([tokens[:, :-1].flip(1), tokens[:, -1:]], 1)
    gap = (runs.predict(tokens) - runs.predict(turned)).view(3, 48, 2, -1)[..., -1].abs().amax((1, 2))
    assert gap[0] < 1e-12 < 1e-4 < gap[1:].min()


def test_positions_that_are_not_learned_stay_zero():
    configs = table({"positions": "sinusoid"}, {"positions": "learned"})
    data = Data.of(ARRAYS, "cpu", torch.float32)
    with torch.no_grad():
        runs = TRANSFORMER.learners(ARRAYS, configs, np.arange(2), data, 1)
        runs.begin(0)
        runs.advance(0)
    assert runs.networks.w["positions"].abs().sum((1, 2)).bool().tolist() == [False, True]


def test_hyperparameters_reach_the_runs_of_one_cohort():
    changes = [{}, {"dropout": 0.3}, {"embedding_scale": 1.0}, {"init_scale": 3.0}, {"positions": "none"}]
    curves = run_cohort(TRANSFORMER, ARRAYS, table(*changes), np.zeros(5, int), (1,), backend="batched")
    assert len(set(curves.train_loss[:, 0])) == 5


def test_it_learns_the_chain_beyond_its_letters():
    """Nine times in ten the next letter follows from the last: 1.00 bits at the least, 5.55 by the letters alone."""
    arrays = sample("language", 256)
    curves = run_cohort(TRANSFORMER, arrays, table({}), [0], (5,), backend="batched")
    assert 1.0 < curves.test_score[0, -1] < 1.5


def test_it_reads_four_corpora():
    assert {"transformer-tinyshakespeare", "transformer-wikitext2_valtest"} < set(tasks.names("transformer"))


def test_frequencies_of_letters_are_a_reference():
    """Interpolated frequencies are probabilities; of two letters they say what there is to say of a chain."""
    found = TRANSFORMER.references(sample("language", 256))
    assert 1.0 < found["two letters"] < 1.5
    rng = np.random.default_rng(0)
    lower = rng.dirichlet(np.ones(5))
    mixed = interpolated(rng.integers(0, 3, size=(7, 5)) * (np.arange(7) > 0)[:, None], lower)
    np.testing.assert_allclose(mixed.sum(1), 1.0)
    np.testing.assert_allclose(mixed[0], lower)
