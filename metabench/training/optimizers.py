"""Update rules over the run axis: every run has its own hyperparameters, runs of one optimizer form a slice.

Each rule has the semantics of its ``torch.optim`` namesake (Lion: Chen et al., 2023) and is checked against it run by
run.
"""

from __future__ import annotations

import torch

from metabench.training.runaxis import segments


class Optimizers:
    """Updates ``flat`` [R, P] from gradients of the same shape.

    ``rows`` are the R configurations, sorted so that runs of one optimizer are neighbours.
    """

    def __init__(self, flat: torch.Tensor, rows: list[dict]):
        self.flat = flat
        self.segments = segments([row["optimizer"] for row in rows])

        def column(name: str, default: float = 0.0):
            values = [default if row[name] is None or row[name] != row[name] else float(row[name]) for row in rows]
            return torch.tensor(values, device=flat.device, dtype=torch.float64)[:, None]

        self.decay = column("weight_decay")
        self.momentum, self.b1, self.b2 = column("momentum"), column("beta1"), column("beta2")
        self.clip = torch.tensor([row["clip"] == "norm" for row in rows], device=flat.device)[:, None]
        self.clip_norm = column("clip_norm", 1.0)
        used = {name for name, _ in self.segments}
        self.first = torch.zeros_like(flat) if used - {"sgd", "rmsprop", "adagrad"} else None
        self.second = torch.zeros_like(flat) if used & {"adam", "adamw", "rmsprop", "adagrad"} else None
        self.t = 0

    def step(self, grad: torch.Tensor, rates: torch.Tensor) -> None:
        """One update with learning rates [R, 1] (float64)."""
        self.t += 1
        dtype = self.flat.dtype
        if bool(self.clip.any()):
            norm = torch.linalg.vector_norm(grad, dim=1, keepdim=True).double()
            factor = (self.clip_norm / (norm + 1e-6)).clamp(max=1.0)
            grad = grad * torch.where(self.clip, factor, 1.0).to(dtype)
        for name, s in self.segments:
            p, g, lr, wd = self.flat[s], grad[s], rates[s], self.decay[s]
            if name not in ("adamw", "lion"):
                g = g + wd.to(dtype) * p
            if name == "sgd":
                p.sub_(lr.to(dtype) * g)
            elif name in ("momentum", "nesterov"):
                mu, v = self.momentum[s].to(dtype), self.first[s]
                v.mul_(mu).add_(g)
                p.sub_(lr.to(dtype) * (g + mu * v if name == "nesterov" else v))
            elif name in ("adam", "adamw"):
                b1, b2, m, v = self.b1[s], self.b2[s], self.first[s], self.second[s]
                m.add_((1 - b1).to(dtype) * (g - m))
                v.mul_(b2.to(dtype)).add_((1 - b2).to(dtype) * g * g)
                if name == "adamw":
                    p.mul_((1 - lr * wd).to(dtype))
                size, root = lr / (1 - b1**self.t), torch.sqrt(1 - b2**self.t)
                p.sub_(size.to(dtype) * m / (torch.sqrt(v) / root.to(dtype) + 1e-8))
            elif name == "rmsprop":
                b2, v = self.b2[s], self.second[s]
                v.mul_(b2.to(dtype)).add_((1 - b2).to(dtype) * g * g)
                p.sub_(lr.to(dtype) * g / (torch.sqrt(v) + 1e-8))
            elif name == "adagrad":
                v = self.second[s]
                v.add_(g * g)
                p.sub_(lr.to(dtype) * g / (torch.sqrt(v) + 1e-10))
            else:
                b1, b2, m = self.b1[s].to(dtype), self.b2[s].to(dtype), self.first[s]
                direction = torch.sign(b1 * m + (1 - self.b1[s]).to(dtype) * g)
                p.sub_(lr.to(dtype) * (direction + wd.to(dtype) * p))
                m.mul_(b2).add_((1 - self.b2[s]).to(dtype) * g)
