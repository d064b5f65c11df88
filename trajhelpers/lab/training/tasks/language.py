"""A GPT-NeoX that learns the book's text, recorded as the hub stores Pythia: a `LanguageRecipe`."""

import json
import math

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from ....atomic import atomic_path
from ..gpt_neox import build_language_model
from ..text import load_text
from .task import Task

_VALIDATED = 1024  # windows of the validation text


class LanguageTask(Task):
    """Prediction of the next token, with AdamW and clipped gradients."""

    def __init__(self, recipe, engine, data_folder):
        self.text = load_text(recipe.tokens)
        self._windows = _windows(self.text.tokens["train"], recipe.context)
        super().__init__(recipe, engine, len(self._windows), "the windows of the training text")
        self.steps, self.checkpoints = recipe.steps, set(recipe.checkpoint_steps())
        self.title = f"GPT-NeoX of width {recipe.width}"
        self.model = build_language_model(recipe, self.text.vocabulary).to(engine.device)
        self.optimizer = _optimizer(recipe, self.model)

    def batches(self, indices):
        return (self._windows[batch].to(self.engine.device) for _, batch in indices)

    def rate(self, step):
        return self.recipe.rate(step)

    def loss(self, model, batch):
        return _loss(model, batch), 0, len(batch)

    def take_step(self, closure):
        closure()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def recorder(self, folder, resume):
        return _HubFolders(folder, self.model, self.checkpoints, resume)

    def ends_row(self, step):
        return step % self.recipe.checkpoints_every == 0

    @torch.no_grad()
    def results(self):
        windows = _windows(self.text.tokens["validation"], self.recipe.context)[:_VALIDATED]
        batches = windows.to(self.engine.device).split(64)
        loss = float(
            np.average(
                [_loss(self.model, batch).item() for batch in batches],
                weights=[len(batch) for batch in batches],
            )
        )
        bits = loss / math.log(2) / self.text.characters_per_token
        return {"validation_loss": loss, "validation_bits": bits}


class _HubFolders:
    """A recorder that writes what a revision of Pythia holds, float16 and a config.json, at once:
    there is nothing to wait for.
    """

    def __init__(self, folder, model, steps, resume):
        self._folder, self._model, self._steps = folder, model, {0, *steps}
        if not resume:
            self(0)

    def __call__(self, step):
        if step not in self._steps:
            return
        place = self._folder / f"step{step}"
        place.mkdir(exist_ok=True)
        # transformers 5 renamed what the hub's files call embed_out.
        weights = {
            name.replace("lm_head", "embed_out"): (
                parameter.detach().to("cpu", torch.float16).contiguous()
            )
            for name, parameter in self._model.named_parameters()
        }
        # The weights come last: a folder without them is no checkpoint to anyone who opens the run.
        with atomic_path(place / "config.json") as temporary:
            config = json.dumps(self._model.config.to_dict(), indent=1, sort_keys=True)
            temporary.write_text(config + "\n")
        with atomic_path(place / "model.safetensors") as temporary:
            save_file(weights, temporary, metadata={"format": "pt"})

    def flush(self):
        pass

    def close(self):
        pass


def _windows(tokens, context):
    """Windows of ``context`` inputs and the token after them; the last token of one is the first of
    the next.
    """
    return tokens.unfold(0, context + 1, context)


def _loss(model, batch):
    logits = model(input_ids=batch[:, :-1], use_cache=False).logits
    return nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def _optimizer(recipe, model):
    decayed = [parameter for parameter in model.parameters() if parameter.dim() == 2]
    others = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        betas=(0.9, 0.95),
        eps=1e-8,
    )
