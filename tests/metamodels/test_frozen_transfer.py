"""The frozen encoder's head is Bayesian linear regression, and the ablations change what they say."""

import numpy as np
import pytest
import torch

from metabench.errors import UsageError
from metabench.metamodels.frozen_transfer import FrozenTransfer
from metabench.metamodels.parts.deep_process import NOISE
from metabench.search.base import History
from metabench.testing import PlantedFamily
from metabench.testing.planted import SPACE

FAMILY, CONFIGS = PlantedFamily(seed=3), SPACE.sample(40, 3)
SOURCE = FAMILY.source(range(8), CONFIGS)
TRIED = [3, 17, 30, 8, 21, 2]


def test_the_head_is_bayesian_linear_regression():
    """Weight space, Bishop (2006), Eq. 3.53–3.54 and 3.59: m_N = β S_N Φᵀt, S_N⁻¹ = αI + βΦᵀΦ, for t = (y − a)/b − m."""
    model = FrozenTransfer(width=16, epochs=3).fit(SOURCE)
    problem, scores = FAMILY.problem(100, CONFIGS, 20)
    search, history = model.start(problem, 0), History(TRIED, scores[TRIED].tolist())
    mean, variance = search.posterior(history)
    y = np.array(history.scores)
    assert y.min() > np.median(y) - 3 * np.ptp(y)  # nothing is clipped
    _, _, a, b = search._gp.posterior(search._mean, y)
    network = search.fitted_network().double()
    with torch.no_grad():
        features = network.encoder(torch.as_tensor(search._x, dtype=torch.float64)).numpy()
    alpha, beta = network.log_precision.exp().item(), 1 / (network.log_noise.exp().item() + NOISE)
    known, t = features[TRIED], (y - a) / b - model.mean_[TRIED]
    covariance = np.linalg.inv(alpha * np.eye(16) + beta * known.T @ known)
    np.testing.assert_allclose(mean, model.mean_ + features @ (beta * covariance @ known.T @ t), atol=1e-9)
    np.testing.assert_allclose(variance, ((features @ covariance) * features).sum(1), atol=1e-9)


def test_what_the_target_may_change():
    """Frozen, nothing that was learned; the head, its two variances alone; in full, the features too."""
    problem, scores = FAMILY.problem(100, CONFIGS, 20)
    history, said = History(TRIED, scores[TRIED].tolist()), {}
    for transfer in ("frozen", "head", "full"):
        model = FrozenTransfer(transfer, width=16, epochs=3, adapt_rate=1e-2).fit(SOURCE)
        network = model.network(5)
        adaptable = {id(p) for p in model.adaptable(network)}
        assert (id(network.log_noise) in adaptable) == (transfer != "frozen")
        assert (id(next(network.encoder.parameters())) in adaptable) == (transfer == "full")
        said[transfer] = model.start(problem, 0).posterior(history)[0]
    for a, b in (("frozen", "head"), ("head", "full")):
        assert np.abs(said[a] - said[b]).max() > 1e-4
    with pytest.raises(UsageError, match=r"^frozen_transfer: unknown transfer 'all'; known: frozen, head, full$"):
        FrozenTransfer("all")
