"""A search space of Ray Tune: which values in it are to be chosen, and the configuration once they are.

Ray's own searchers accept a flat dictionary. Here dictionaries, lists and tuples may be nested, options may hold domains
themselves, and ``sample_from`` may read what was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as MappingABC
from typing import Any

import numpy as np
from ray.tune.search.sample import Categorical, Domain, Float, Function, Integer, LogUniform, Quantized, Uniform

from metabench.errors import UsageError
from metabench.interop.ranges import Listed, Numeric, Range


def domains(space: MappingABC[str, Any]) -> dict[str, Domain]:
    """Path (parts joined by "/") → domain, for everything that is to be chosen.

    Raises UsageError naming the parameter for what a searcher cannot choose: grids, text to evaluate, keys that are no text.
    """
    if not isinstance(space, MappingABC):
        raise UsageError(f"the search space is a {type(space).__name__}; give a dictionary of parameters")
    return dict(_walk(space, ()))


def _walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Domain]]:
    name = "/".join(path)
    if isinstance(value, Domain):
        if isinstance(value, Categorical) and not value.categories:
            raise UsageError(f"{name}: tune.choice has no options")
        yield name, value
    elif isinstance(value, MappingABC):
        if set(value) == {"grid_search"}:
            raise UsageError(f"{name}: MetaSearch proposes values itself; write tune.choice, not grid_search")
        if set(value) == {"eval"}:
            raise UsageError(f"{name}: MetaSearch evaluates no text; write tune.sample_from with a function")
        for key, inner in value.items():
            if not isinstance(key, str):
                where = f"{name}/{key}" if name else str(key)
                raise UsageError(f"{where}: the key {key!r} is a {type(key).__name__}; Ray names parameters by text")
            yield from _walk(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from _walk(inner, (*path, str(i)))


def resolve(space: MappingABC[str, Any], values: MappingABC[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """The configuration: ``values`` where they are given (by path), other domains drawn, no domain left.

    Raises UsageError naming a ``sample_from`` that fails.
    """
    late: dict[tuple, Function] = {}
    config = _chosen(space, (), values, rng, late)
    waiting = dict(late)
    while waiting:
        failed: dict[tuple, Exception] = {}
        for path, function in waiting.items():
            try:
                found = function.sample(config=_known(config), random_state=rng)
            except Exception as error:
                failed[path] = error
                continue
            config = _put(config, path, _chosen(found, path, {}, rng, {}))
        if len(failed) == len(waiting):
            path, error = next(iter(failed.items()))
            text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UsageError(f"{'/'.join(map(str, path))}: its sample_from failed ({text})")
        waiting = {path: waiting[path] for path in failed}
    return config


def _chosen(value: Any, path: tuple, values: MappingABC[str, Any], rng, late: dict[tuple, Function]) -> Any:
    if isinstance(value, Function):
        late[path] = value
        return value
    if isinstance(value, Domain):
        name = "/".join(map(str, path))
        return _chosen(values[name] if name in values else value.sample(random_state=rng), path, {}, rng, late)
    if isinstance(value, MappingABC):
        return {k: _chosen(v, (*path, k), values, rng, late) for k, v in value.items()}
    if isinstance(value, list | tuple):
        made = [_chosen(v, (*path, i), values, rng, late) for i, v in enumerate(value)]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    return value


def _known(value: Any) -> Any:
    """A configuration without what is not chosen yet: to read that is a KeyError, and is tried again later."""
    if isinstance(value, MappingABC):
        return {k: _known(v) for k, v in value.items() if not isinstance(v, Domain)}
    return value


def _put(value: Any, path: tuple, found: Any) -> Any:
    if not path:
        return found
    key, *rest = path
    if isinstance(value, MappingABC):
        return {**value, key: _put(value[key], tuple(rest), found)}
    made = [_put(v, tuple(rest), found) if i == key else v for i, v in enumerate(value)]
    return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)


def own_range(domain: Domain) -> Range | None:
    """A domain of Ray's, None where it is not one that values can be proposed for."""
    if isinstance(domain, Function):
        return None
    sampler, step = domain.get_sampler(), None
    if isinstance(sampler, Quantized):
        step, sampler = sampler.q, sampler.sampler
    log = isinstance(sampler, LogUniform)
    if not (log or isinstance(sampler, Uniform)):
        return None
    if isinstance(domain, Categorical):
        return Listed(tuple(domain.categories))
    if isinstance(domain, Integer):  # the upper end is left out, unless values are quantised
        return Numeric(domain.lower, domain.upper - (step is None), log, True, step)
    return Numeric(domain.lower, domain.upper, log, False, step) if isinstance(domain, Float) else None
