"""Public contract checks for plug-ins, and a planted family of tasks to try them on."""

from metabench.testing.contract import ContractError, check, check_metamodel, check_searcher, check_workload
from metabench.testing.planted import PlantedFamily, synthetic_source

__all__ = [
    "ContractError",
    "PlantedFamily",
    "check",
    "check_metamodel",
    "check_searcher",
    "check_workload",
    "synthetic_source",
]
