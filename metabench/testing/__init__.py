"""Public contract checks for plug-ins, and a planted family of tasks to try them on."""

from metabench.testing.planted import PlantedFamily, synthetic_source

__all__ = ["PlantedFamily", "synthetic_source"]
