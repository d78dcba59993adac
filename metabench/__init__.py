"""metabench: tables, meta-models and a benchmark for meta-learned hyperparameter optimisation of deep networks."""

__version__ = "0.1.0"
