"""Spaces and configurations in the words of other optimisers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metabench.extras import need
from metabench.space import Choice, Int, Ordinal, Parameter, Space


def is_active(p: Parameter, config: Mapping[str, Any]) -> bool:
    """Whether a hyperparameter counts beside the values of its parents."""
    return p.when is None or p.when.on_task or config.get(p.when.parent) in p.when.values


def active(space: Space, config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the hyperparameters that its own values make inactive; what is unknown stays in."""
    kept = {n: v for n, v in config.items() if n not in space}
    for name, p in space.items():  # parents stand before their children
        if name in config and is_active(p, kept):
            kept[name] = config[name]
    return kept


def suggest(trial: Any, space: Space) -> dict[str, Any]:
    """Ask an Optuna trial for every active hyperparameter of a space.

    ``reverse`` ranges, which Optuna does not know, are asked for as an even number in [0, 1] called ``<name>:unit``.
    """
    config: dict[str, Any] = {}
    for name, p in space.items():
        if not is_active(p, config):
            continue
        if isinstance(p, Choice | Ordinal):
            config[name] = trial.suggest_categorical(name, list(p.options))
        elif isinstance(p, Int):
            config[name] = trial.suggest_int(name, int(p.low), int(p.high), log=p.log)
        elif p.reverse:
            config[name] = float(p.from_unit([trial.suggest_float(f"{name}:unit", 0.0, 1.0)])[0])
        else:
            config[name] = trial.suggest_float(name, float(p.low), float(p.high), log=p.log)
    return config


def syne_tune_space(space: Space) -> dict[str, Any]:
    """A space as Syne Tune's dictionary of domains."""
    need("syne_tune", "a space for Syne Tune")
    from syne_tune import config_space as cs

    def domain(p: Parameter) -> Any:
        if isinstance(p, Choice):
            return cs.choice(list(p.options))
        if isinstance(p, Ordinal):
            return cs.ordinal(list(p.options))
        if isinstance(p, Int):
            return (cs.lograndint if p.log else cs.randint)(int(p.low), int(p.high))
        if p.reverse:
            return cs.reverseloguniform(float(p.low), float(p.high))
        return (cs.loguniform if p.log else cs.uniform)(float(p.low), float(p.high))

    return {name: domain(p) for name, p in space.items()}


__all__ = ["active", "is_active", "suggest", "syne_tune_space"]
