"""Simulated systems to control: a data set is a system, its rows are start states."""

from __future__ import annotations

from metabench import registry
from metabench.sources.base import Dataset, Listing

#: name → (family, notes); the physics are in :mod:`metabench.tasks.systems`
_SYSTEMS = {
    "cartpole": ("cartpole", "balance a pole on a cart"),
    "cartpole_long": ("cartpole", "a pole three times as long and heavy"),
    "acrobot": ("acrobot", "swing up two links by a torque at their joint"),
    "acrobot_light": ("acrobot", "the second link of .6 the mass"),
    "pendulum": ("pendulum", "swing up and hold a pendulum, torque up to 2"),
    "pendulum_weak": ("pendulum", "torque up to 1.2"),
}
#: start states of each
STARTS = 640


class Control:
    """Cart-pole, acrobot and pendulum, each also with other masses or lengths."""

    name = "control"

    def names(self) -> list[str]:
        return list(_SYSTEMS)

    def listing(self, name: str) -> Listing:
        if name not in _SYSTEMS:
            raise registry.suggest(name, self.names(), "system")
        return Listing(name, "control", "control", STARTS, "1", made="simulated")

    def load(self, name: str) -> Dataset:
        self.listing(name)
        family, notes = _SYSTEMS[name]
        licence = "none needed: simulated by metabench"
        return Dataset(name, family, self.name, "control", "control", name, None, licence=licence, notes=notes)
