"""The learned metric: its losses are those of the papers, and tasks of a planted cluster come to lie together."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from metabench.errors import UsageError
from metabench.metamodels.metric_learned import MetricLearned, agreement, alike, siamese, triplet
from metabench.search.base import History
from metabench.testing import PlantedFamily
from metabench.testing.planted import SPACE


def points(*angles):
    """Points on the unit circle."""
    a = torch.tensor(angles, dtype=torch.float64)
    return torch.stack([torch.cos(a), torch.sin(a)], dim=1)


def test_the_contrastive_loss():
    """Hadsell et al., Eq. 4: d² of like pairs, max(0, 1 − d)² of others; either kind counts half."""
    a, b = points(0.0, 0.3), points(0.1, 2.0)
    d = (a[:, None] - b[None]).norm(dim=-1)
    same = torch.tensor([[True, False], [True, False]])
    near = torch.stack([d[0, 0], d[1, 0]])
    far = (1 - torch.stack([d[0, 1], d[1, 1]])).clamp_min(0)
    torch.testing.assert_close(siamese(a, b, same), 0.5 * ((near**2).mean() + (far**2).mean()))
    torch.testing.assert_close(siamese(a, b, ~same & False), ((1 - d).clamp_min(0) ** 2).mean() / 1.0)


def test_triplets_take_the_semi_hard_negative():
    """A query at 0; its positive at .5; negatives at .2 (harder), .6 (semi-hard) and 2.0."""
    query, support = points(0.0), points(0.5, 0.2, 0.6, 2.0)
    squared = ((query - support) ** 2).sum(1)
    same = torch.tensor([[True, False, False, False]])
    torch.testing.assert_close(triplet(query, support, same), squared[0] - squared[2] + 0.2)
    # none is further than the positive: the furthest
    hard = triplet(query, support[:2], same[:, :2])
    torch.testing.assert_close(hard, squared[0] - squared[1] + 0.2)
    torch.testing.assert_close(triplet(query, support[:1], same[:, :1]), squared[0])


def test_agreement_is_the_correlation_on_what_both_ran():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3, 30))
    z -= z.mean(1, keepdims=True)
    np.testing.assert_allclose(agreement(z), np.corrcoef(z))
    z[0, :10] = np.nan
    both = z[0, 10:] @ z[1, 10:] / np.sqrt((z[0, 10:] ** 2).sum() * (z[1, 10:] ** 2).sum())
    assert agreement(z)[0, 1] == pytest.approx(both)
    z[0] = np.nan
    assert (agreement(z)[0] == 0).all() and alike(z, 0.5).diagonal().all()


@pytest.mark.parametrize("loss", ["siamese", "triplet"])
def test_tasks_of_a_planted_cluster_lie_together(loss):
    """New tasks of five groups: by features, and by fifteen trials without features, the neighbours are of the own group
    (a fifth by chance), and the support sets' nearest others are, too."""
    family, configs = PlantedFamily(seed=5, clusters=5), SPACE.sample(48, 5)
    model = MetricLearned(loss=loss, epochs=300, rate=3e-3).fit(family.source(range(30), configs))
    group = np.arange(30) % 5
    squared = ((model.embeddings_[:, None] - model.embeddings_[None]) ** 2).sum(-1)
    np.fill_diagonal(squared, np.inf)
    assert np.mean(group[squared.argmin(1)] == group) > 0.85
    by_features, by_trials = [], []
    for task in range(100, 115):
        problem, scores = family.problem(task, configs, 20)
        own = group == task % 5
        by_features.append(model.start(problem, 0).weights(History())[own].sum())
        blind = model.start(replace(problem, task=replace(problem.task, features={})), 0)
        by_trials.append(blind.weights(History(list(range(15)), scores[:15].tolist()))[own].sum())
    assert np.mean(by_features) > 0.6
    assert np.mean(by_trials) > 0.6


def test_settings_that_make_no_metric():
    with pytest.raises(UsageError, match=r"^metric_learned: unknown loss 'l1'; known: siamese, triplet$"):
        MetricLearned(loss="l1")
    with pytest.raises(UsageError, match=r"^metric_learned: k, embedding, width and noise must be positive, and "):
        MetricLearned(k=0)
