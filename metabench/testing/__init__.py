"""Public contract checks for plug-ins, and a planted family of tasks to try them on."""

from metabench.testing.contract import check
from metabench.testing.contract.metamodel import check_metamodel
from metabench.testing.contract.requirement import ContractError
from metabench.testing.contract.searcher import check_searcher
from metabench.testing.contract.workload import check_workload
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
