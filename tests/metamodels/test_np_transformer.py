"""The transformer neural process: its context is a set. (What it learns is a posterior: test_in_context.py.)"""

import numpy as np
import pytest
import torch

from metabench.errors import UsageError
from metabench.metamodels.np_transformer import NPTransformer
from metabench.metamodels.parts.in_context import gaussian
from metabench.search.base import History
from metabench.testing import PlantedFamily
from metabench.testing.planted import SPACE


def test_the_context_is_a_set_and_other_points_do_not_count():
    torch.manual_seed(0)
    network = NPTransformer(width=16, layers=2, heads=2).network(3)
    x, y, new = torch.randn(2, 6, 3), torch.randn(2, 6), torch.randn(2, 5, 3)
    with torch.no_grad():
        mean, std = gaussian(network(x, y, new))
        turned = gaussian(network(x.flip(1), y.flip(1), new))
        alone = gaussian(network(x, y, new[:, 2:3]))
        other = gaussian(network(x, y + 1.0, new))
    assert mean.shape == std.shape == (2, 5) and (std > 0.05).all()
    torch.testing.assert_close(turned, (mean, std))
    torch.testing.assert_close(alone, (mean[:, 2:3], std[:, 2:3]))
    assert not torch.allclose(other[0], mean, atol=1e-3)


def test_predictions_depend_on_order_and_units_no_more_than_they_should():
    family, configs = PlantedFamily(seed=3), SPACE.sample(40, 3)
    model = NPTransformer(layers=1, width=16, epochs=2).fit(family.source(range(8), configs))
    problem, scores = family.problem(100, configs, 20)
    tried = [3, 17, 30, 8, 21]
    plain = model.start(problem, 0).posterior(History(tried, scores[tried].tolist()))
    for history in (
        History(tried[::-1], scores[tried[::-1]].tolist()),
        History(tried, (1e3 * scores[tried] - 7.0).tolist()),
    ):
        np.testing.assert_allclose(model.start(problem, 0).posterior(history), plain, atol=1e-5)


def test_settings_that_make_no_network():
    with pytest.raises(
        UsageError, match=r"^np_transformer: needs layers >= 1 and a width that is a multiple of heads$"
    ):
        NPTransformer(width=30)
