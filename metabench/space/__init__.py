"""Search spaces: typed, mixed and conditional; whole tables of configurations are sampled and encoded at once.

A *configuration table* is a ``pandas.DataFrame`` with one typed column per hyperparameter in its native unit; a
value is missing where the hyperparameter is inactive. A *configuration* is one row of it as a ``dict``.
"""

from metabench.space.parameters import Choice, Float, Int, Ordinal, Parameter, When, is_classification, when
from metabench.space.space import Space

__all__ = ["Choice", "Float", "Int", "Ordinal", "Parameter", "Space", "When", "is_classification", "when"]
