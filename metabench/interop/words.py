"""What hyperparameters, their options and their units are called by others."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from metabench.space import Choice, Space

#: hyperparameter → what else it is called; compared without case, underscores and dashes
ALIASES = {
    "learning_rate": "lr init_lr base_lr initial_lr lr0 eta step_size learning_rate_init",
    "batch_size": "bs batch minibatch_size train_batch_size per_device_train_batch_size",
    "optimizer": "opt optim optimiser optimizer_name optimizer_type",
    "weight_decay": "wd l2 l2_reg l2_penalty weight_decay_rate",
    "momentum": "mom sgd_momentum",
    "beta1": "b1 beta_1 adam_beta1",
    "beta2": "b2 beta_2 adam_beta2",
    "schedule": "scheduler lr_schedule lr_scheduler lr_scheduler_type",
    "warmup": "warmup_ratio warmup_fraction warmup_share",
    "clip_norm": "max_grad_norm grad_clip gradient_clip gradient_clip_val grad_clip_norm clip_grad_norm max_norm",
    "width": "hidden hidden_size hidden_dim hidden_units n_hidden n_units num_units units n_neurons layer_size",
    "depth": "n_layers num_layers layers hidden_layers n_hidden_layers num_hidden_layers",
    "activation": "act act_fn activation_fn activation_function nonlinearity",
    "dropout": "dropout_rate dropout_p dropout_prob p_dropout drop drop_rate",
    "norm": "normalization normalisation norm_layer norm_type",
    "init_scale": "init_gain gain weight_scale",
    "label_smoothing": "smoothing",
    "input_noise": "noise noise_std gaussian_noise",
}
#: option → what else it is called
OPTIONS = {
    "momentum": "sgd_momentum sgdm",
    "nesterov": "sgd_nesterov nag",
    "silu": "swish",
    "layer": "layer_norm ln",
    "none": "off no false identity",
    "norm": "on yes true clip_norm",
    "constant": "constant_lr none fixed",
    "step": "step_lr",
    "exponential": "exponential_lr exp",
    "cosine": "cosine_annealing cosine_annealing_lr",
    "one_cycle": "one_cycle_lr",
}
#: a parameter in another unit: prefix or suffix of its name → unit
PREFIXES = {"log10": "log10", "log2": "log2", "ln": "ln", "oneminus": "one_minus", "1minus": "one_minus"}
SUFFIXES = {"percent": "percent", "pct": "percent"}
#: unit → (to the hyperparameter's own, back)
UNITS = {
    "same": (lambda x: x, lambda x: x),
    "log10": (lambda x: 10.0**x, np.log10),
    "log2": (lambda x: 2.0**x, np.log2),
    "ln": (np.exp, np.log),
    "percent": (lambda x: x / 100.0, lambda x: x * 100.0),
    "one_minus": (lambda x: 1.0 - x, lambda x: 1.0 - x),
}


def plain(name: Any) -> str:
    return re.sub(r"[^a-z0-9]+", "", str(name).lower())


def recognised(space: Space, name: str) -> tuple[str | None, str]:
    """(hyperparameter, unit) that a name plainly says, or (None, why not)."""
    known = {plain(n): n for n in space}
    for target, others in ALIASES.items():
        if target in space:
            known |= {plain(other): target for other in others.split() if plain(other) not in known}
    last = plain(re.split(r"[./:]|__", name)[-1])
    if last in known:
        return known[last], "same"
    for prefix, unit in PREFIXES.items():
        if last.startswith(prefix) and last.removeprefix(prefix) in known:
            return known[last.removeprefix(prefix)], unit
    for suffix, unit in SUFFIXES.items():
        if last.endswith(suffix) and last.removesuffix(suffix) in known:
            return known[last.removesuffix(suffix)], unit
    if last.startswith("log") and last.removeprefix("log") in known:
        target = known[last.removeprefix("log")]
        return None, f"the logarithm's base is unclear; say names={{{name!r}: ({target!r}, 'log10')}} or 'ln'"
    return None, "no hyperparameter of that name"


def option_of(p: Choice, option: Any) -> str | None:
    said = "none" if option is None else plain(option)
    direct = {plain(o): o for o in p.options}
    for o in p.options:
        direct |= {plain(other): o for other in OPTIONS.get(o, "").split() if plain(other) not in direct}
    return direct.get(said)
