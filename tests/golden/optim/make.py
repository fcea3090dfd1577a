"""Makes trajectories.json: what reference implementations do with the same gradients.

pip install torch==2.15.0 transformers==5.23.0, then: python make.py
The gradients are a formula (twelve steps, one large, one of zeros), so that only results are stored.
"""
import json
import math

import torch
import torch.optim._muon as muon
from transformers import Adafactor


class Single:
    """torch, but what it would do in bfloat16 it does in single precision: Muon's products are to be compared closely."""

    bfloat16 = torch.float32

    def __getattr__(self, name):
        return getattr(torch, name)


muon.torch = Single()

STEPS = 12
RATES = [0.1 * (1 - i / STEPS) for i in range(STEPS)]
SHAPES = {"matrix": (3, 4), "vector": (4,), "tall": (6, 2)}


def wave(shape, seed):
    count = math.prod(shape)
    return torch.tensor([math.sin(1.3 * i + 0.7 * seed) + 0.3 * math.cos(2.1 * i * seed) for i in range(count)]).reshape(shape)


def gradients(shape, seed):
    scale = {3: 30.0, 5: 0.0}
    return [scale.get(i, 0.1 + 0.05 * i) * wave(shape, seed + 10 * (i + 1)) for i in range(STEPS)]


def run(make, names=("matrix", "vector")):
    out = {}
    for seed, name in enumerate(names, 1):
        parameter = torch.nn.Parameter(wave(SHAPES[name], seed))
        optimizer = make([parameter])
        seen = []
        for i, gradient in enumerate(gradients(SHAPES[name], seed)):
            parameter.grad = gradient.clone()
            for group in optimizer.param_groups:
                if group["lr"] is not None:
                    group["lr"] = RATES[i]
            optimizer.step()
            seen.append(parameter.detach().flatten().tolist())
        out[name] = seen
    return out


class Lion(torch.optim.Optimizer):
    """arXiv 2302.06675, algorithm 2."""

    def __init__(self, parameters, lr=1.0, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(parameters, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                direction = torch.sign(first * momentum + (1 - first) * p.grad)
                p.sub_(group["lr"] * (direction + group["weight_decay"] * p))
                momentum.mul_(second).add_(p.grad, alpha=1 - second)


xft = dict(scale_parameter=False, relative_step=False, warmup_init=False, lr=1.0)
made = {
    "rates": RATES,
    "adafactor": run(lambda p: Adafactor(p, **xft)),
    "adafactor, decay": run(lambda p: Adafactor(p, **xft, weight_decay=0.1)),
    "adafactor, relative": run(lambda p: Adafactor(p, scale_parameter=True, relative_step=True, lr=None)),
    "adamw": run(lambda p: torch.optim.AdamW(p, lr=1.0, weight_decay=0.0)),
    "adamw, decay": run(lambda p: torch.optim.AdamW(p, lr=1.0, weight_decay=0.1)),
    "sgd": run(lambda p: torch.optim.SGD(p, lr=1.0)),
    "sgd, momentum": run(lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9, weight_decay=0.1)),
    "sgd, nesterov": run(lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9, nesterov=True)),
    "lion": run(lambda p: Lion(p, weight_decay=0.1)),
    "muon": run(lambda p: torch.optim.Muon(p, lr=1.0, weight_decay=0.1), ("matrix", "tall")),
}
with open("trajectories.json", "w") as file:
    json.dump(made, file, indent=None, separators=(",", ":"))
    file.write("\n")
