"""Five trials of a study whose first is already informed."""

import optuna

import optunahub


def objective(trial: optuna.Trial) -> float:
    """A stand-in for a training."""
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    depth = trial.suggest_int("n_layers", 1, 4)
    return (lr - 0.003) ** 2 + 0.01 * depth


if __name__ == "__main__":
    module = optunahub.load_module(package="samplers/metabench")
    study = optuna.create_study(sampler=module.MetaSampler.from_pretrained("mlp-v1"))
    study.optimize(objective, n_trials=5)
    print(study.best_params)
