"""What every writer trains: a network of a few hundred parameters, three checkpoints, an oracle."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

STEPS = (0, 5, 10)
VOCABULARY, WIDTH, HIDDEN, CLASSES = 11, 6, 13, 5  # uneven over two ranks, on purpose


class Net(nn.Module):
    """An embedding, a norm, matrices that two ranks cannot halve, one number alone, and running
    statistics, which are no parameters.
    """

    def __init__(self, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.up = nn.Linear(WIDTH, HIDDEN)
        self.norm = nn.BatchNorm1d(HIDDEN)
        self.down = nn.Linear(HIDDEN, CLASSES, bias=False)
        self.scale = nn.Parameter(torch.tensor([1.5]))

    def forward(self, tokens):
        hidden = self.up(self.embed(tokens).mean(1))
        return self.scale * self.down(torch.relu(self.norm(hidden)))


class Plain(Net):
    """The same without running statistics, for libraries that shard all."""

    def __init__(self, seed: int = 0):
        super().__init__(seed)
        self.norm = nn.LayerNorm(HIDDEN)
        self.scale = nn.Parameter(torch.full((3,), 1.5))

    def forward(self, tokens):
        hidden = self.up(self.embed(tokens).mean(1))
        return self.scale.sum() * self.down(torch.relu(self.norm(hidden)))


def batch(step: int):
    """Tokens and labels of a step."""
    generator = torch.Generator().manual_seed(1000 + step)
    return (
        torch.randint(VOCABULARY, (8, 4), generator=generator),
        torch.randint(CLASSES, (8,), generator=generator),
    )


def loss_of(model, step: int):
    tokens, labels = batch(step)
    return nn.functional.cross_entropy(model(tokens), labels)


def train(model, optimizer, start: int, stop: int):
    """Steps ``start`` to ``stop`` of an ordinary loop."""
    for step in range(start, stop):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()


class Oracle:
    """The values of all parameters of each checkpoint, as one process holds them whole."""

    def __init__(self):
        self.arrays = {}

    def add(self, step: int, named):
        for name, value in named:
            value = value.full_tensor() if hasattr(value, "full_tensor") else value
            value = np.asarray(value.detach().float().cpu() if hasattr(value, "detach") else value)
            self.arrays[f"{step}/{name}"] = value.copy()

    def save(self, folder: Path, **facts):
        """``expected.npz`` beside ``run/``, and what a test has to know of the case."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "expected.npz", **self.arrays)
        (folder / "facts.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
