"""A miniature of the Pythia suite: GPT-NeoX language models of the same recipe in shape, on a text
that comes with the book.

From EleutherAI/pythia, models/14M/pythia-14m.yml, and the code of gpt-neox that it configures:
normal initialization with variance 2 / (5 width) ("small_init"), of the matrices that write to the
residual stream with deviation 2 / (layers √width) ("wang_init"); AdamW with β₁ = .9, β₂ = .95 and
decoupled decay of all matrices, not of norms and biases; gradients clipped at norm 1; 1 % of the
steps warm-up, then a cosine to a tenth; parallel residual, rotary embeddings on a quarter of each
head, input and output embeddings untied."""

import json
import lzma
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from ...atomic import atomic_path
from ...errors import missing_extra
from ...reading.steps import pythia_steps
from ...streaming.devices import choose_device
from .images import data_file
from .loop import _claim_folder, _diverged, _look_at_folder, _OneProcess
from .recipe import JsonRecipe

HEAD = 16  # dimensions of an attention head, at every width
_HELD_OUT = 20  # every so many-th piece of the text is for validation
_PIECE = 2000  # characters
_VALIDATED = 1024  # windows of the validation text
_BPE = "bible-kjv-bpe-2048.json"


@dataclass(frozen=True, kw_only=True)
class LanguageRecipe(JsonRecipe):
    """Everything that determines a run of the miniature suite, but the machine.

    Parameters
    ----------
    width : int
        Of the residual stream, a multiple of 16; heads have 16 dimensions each.
    layers : int
    tokens : str
        ``"characters"``, of which the text has 63, or ``"bpe-2048"``, byte-pair encoding with 2,048
        tokens.
    learning_rate, weight_decay : float
        Peak η and λ of AdamW.
    steps, batch_size, context : int
        A step sees ``batch_size`` windows of ``context`` tokens; no window is seen twice before all
        were seen.
    seed : int
        Of the initialization and of the order of the windows.
    checkpoints_every : int
        Checkpoints lie on Pythia's schedule in miniature: 0, the powers of two below this, then
        every so many steps.

    Raises
    ------
    ValueError
        For a field that makes no sense, by its name.

    Chapter "Pythia".

    >>> recipe = LanguageRecipe(width=64, learning_rate=0.01, weight_decay=0.1)
    >>> recipe.checkpoint_steps()[:9], len(recipe.checkpoint_steps())
    ([0, 1, 2, 4, 8, 16, 32, 40, 80], 39)
    >>> round(recipe.decay_exposure, 3)
    0.704
    """

    width: int
    layers: int = 2
    tokens: str = "characters"
    learning_rate: float
    weight_decay: float
    steps: int = 1280
    batch_size: int = 8
    context: int = 64
    seed: int = 0
    checkpoints_every: int = 40

    def __post_init__(self):
        for field in ("learning_rate", "weight_decay"):
            if type(getattr(self, field)) is int:  # 0 and 0.0 are one recipe
                object.__setattr__(self, field, float(getattr(self, field)))
        self._choice("tokens", ("characters", "bpe-2048"))
        self._number("learning_rate", "above 0", lambda x: x > 0)
        self._number("weight_decay", "from 0 on", lambda x: x >= 0)
        for field, least in (
            ("width", HEAD),
            ("layers", 1),
            ("steps", 1),
            ("batch_size", 1),
            ("context", 1),
            ("seed", 0),
            ("checkpoints_every", 1),
        ):
            self._whole(field, least)
        if self.width % HEAD:
            self._refuse("width", f"a multiple of {HEAD}, the size of a head")
        if self.steps % self.checkpoints_every:
            self._refuse(
                "steps",
                f"a multiple of checkpoints_every, {self.checkpoints_every}, so that the last step"
                " is a checkpoint",
            )

    def rate(self, step):
        """η at a step, from 0 on."""
        warm = math.ceil(0.01 * self.steps)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * (
            0.55 + 0.45 * math.cos(math.pi * (step - warm) / (self.steps - warm))
        )

    @property
    def decay_exposure(self):
        """Σηλ over training, by how much decay alone would lower log ‖θ‖."""
        return self.weight_decay * sum(map(self.rate, range(self.steps)))

    def checkpoint_steps(self):
        """The steps at which a run is recorded."""
        return pythia_steps(self.steps, self.checkpoints_every)


class Text(NamedTuple):
    """What `load_text` returns."""

    tokens: dict
    vocabulary: int
    characters_per_token: float


def load_text(tokens="characters"):
    """The King James Bible as one line of tokens, of which every twentieth piece of 2,000
    characters is held out.

    Parameters
    ----------
    tokens : str
        ``"characters"`` or ``"bpe-2048"``, which needs the package tokenizers (with transformers,
        the extra ``language``).

    Returns
    -------
    Text
        ``tokens["train"]`` and ``tokens["validation"]``: int64 tensors, one number a token;
        ``vocabulary``, how many there are; ``characters_per_token`` of the validation text.

    >>> text = load_text()
    >>> text.vocabulary, {split: f"{len(tokens):,}" for split, tokens in text.tokens.items()}
    (63, {'train': '3,931,850', 'validation': '206,000'})
    """
    characters = _characters()
    pieces = [characters[at : at + _PIECE] for at in range(0, len(characters), _PIECE)]
    splits = {
        "train": "".join(piece for i, piece in enumerate(pieces) if (i + 1) % _HELD_OUT),
        "validation": "".join(pieces[_HELD_OUT - 1 :: _HELD_OUT]),
    }
    if tokens == "characters":
        alphabet = np.unique([ord(letter) for letter in set(characters)])
        found = {
            split: np.searchsorted(alphabet, np.frombuffer(text.encode("latin-1"), np.uint8))
            for split, text in splits.items()
        }
        vocabulary = len(alphabet)
    else:
        tokenizer = _tokenizers().Tokenizer.from_file(str(data_file(_BPE, "the text comes")))
        found = {split: tokenizer.encode(text).ids for split, text in splits.items()}
        vocabulary = tokenizer.get_vocab_size()
    found = {
        split: torch.tensor(np.asarray(ids), dtype=torch.int64) for split, ids in found.items()
    }
    return Text(found, vocabulary, len(splits["validation"]) / len(found["validation"]))


def _characters():
    return lzma.decompress(data_file("bible-kjv.txt.xz", "the text comes").read_bytes()).decode(
        "ascii"
    )


def _tokenizers():
    try:
        import tokenizers
    except ImportError as error:
        raise missing_extra("tokens='bpe-2048'", "tokenizers", "language") from error
    return tokenizers


def build_language_model(recipe, vocabulary):
    """transformers' ``GPTNeoXForCausalLM`` of a recipe, with Pythia's initialization.

    Parameters
    ----------
    recipe : LanguageRecipe
    vocabulary : int
        As :func:`load_text` counts it.
    """
    try:
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM
    except ImportError as error:
        raise missing_extra("the miniature suite", "transformers", "language") from error
    config = GPTNeoXConfig(
        vocab_size=vocabulary,
        hidden_size=recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.width // HEAD,
        intermediate_size=4 * recipe.width,
        max_position_embeddings=recipe.context,
        use_parallel_residual=True,
        tie_word_embeddings=False,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10_000,
            "partial_rotary_factor": 0.25,
        },
        attention_dropout=0.0,
        hidden_dropout=0.0,
        bos_token_id=None,
        eos_token_id=None,
        architectures=["GPTNeoXForCausalLM"],
    )
    with torch.random.fork_rng(devices=[]):
        model = GPTNeoXForCausalLM(config)
    generator = torch.Generator().manual_seed(recipe.seed)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            to_residual = name.endswith(("attention.dense.weight", "mlp.dense_4h_to_h.weight"))
            deviation = (
                2 / (recipe.layers * recipe.width**0.5)
                if to_residual
                else (2 / (5 * recipe.width)) ** 0.5
            )
            nn.init.normal_(parameter, std=deviation, generator=generator)
        else:
            nn.init.constant_(
                parameter,
                1.0 if name.endswith("norm.weight") or "layernorm.weight" in name else 0.0,
            )
    return model


def train_language(recipe, folder, device="cpu", resume=False, overwrite=False, progress=True):
    """Train one member of the miniature suite and store its checkpoints as the hub stores Pythia's.

    Parameters
    ----------
    recipe : LanguageRecipe
    folder : path
        Gets ``recipe.json``, ``log.csv`` and one folder a checkpoint, ``step<N>/`` with
        ``model.safetensors`` (float16, under the names of the hub's files) and ``config.json``:
        what a revision of Pythia holds.
    device : str
        As in :func:`trajhelpers.training.train`. The numbers that are drawn do not depend on it.
    resume : bool
        Return a finished run as it is; one that is not finished starts again, since it is short.
    overwrite : bool
        Replace the run that the folder holds.
    progress : bool
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        One row every ``checkpoints_every`` steps: ``step``; ``running_loss``, mean cross-entropy in
        nats a token of the batches since the last row; ``seconds`` since the start. The last row
        also has ``validation_loss``, over the first 1,024 windows of the held-out text, and
        ``validation_bits`` a character.

    Raises
    ------
    ExistingRunError
        Where the folder holds a run, and it is not to be resumed or overwritten, or is another
        recipe's.
    NonFiniteError
        At the first loss that is NaN or infinite. The checkpoints and the log up to there are kept.

    Notes
    -----
    On a CPU, one recipe, machine and number of threads give the same bits each time. Chapter
    "Pythia"."""
    folder, engine = Path(folder), _OneProcess(choose_device(device))
    finished = _look_at_folder(folder, recipe, resume, overwrite, engine)
    if finished is not None:
        return finished

    text = load_text(recipe.tokens)
    model = build_language_model(recipe, text.vocabulary).to(engine.device)
    optimizer = _optimizer(model, recipe)
    windows = _windows(text.tokens["train"], recipe.context)
    if recipe.batch_size > len(windows):
        raise ValueError(
            f"batch_size: expected at most {len(windows)}, the windows of the training text, got"
            f" {recipe.batch_size}"
        )
    _claim_folder(folder, recipe, True, engine)
    at, log, losses, started = set(recipe.checkpoint_steps()), [], [], time.perf_counter()
    _save(model, folder, 0)
    with tqdm(
        _batches(windows, recipe),
        total=recipe.steps,
        desc=f"GPT-NeoX of width {recipe.width}",
        unit="step",
        disable=not progress,
        leave=False,
    ) as bar:
        for step, batch in enumerate(bar, 1):
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(step - 1)
            optimizer.zero_grad()
            loss = _loss(model, batch.to(engine.device))
            losses.append(loss.item())
            if not np.isfinite(losses[-1]):
                raise _diverged(folder, losses[-1], step, recipe.steps, recipe)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step in at:
                _save(model, folder, step)
            if step % recipe.checkpoints_every == 0:
                log.append(
                    {
                        "step": step,
                        "running_loss": np.mean(losses),
                        "seconds": time.perf_counter() - started,
                    }
                )
                losses.clear()
                if step == recipe.steps:
                    validation = _validate(model, text, recipe, engine.device)
                    log[-1] |= {
                        "validation_loss": validation,
                        "validation_bits": validation / math.log(2) / text.characters_per_token,
                    }
                with atomic_path(folder / "log.csv") as temporary:
                    pd.DataFrame(log).to_csv(temporary, index=False)
    return pd.DataFrame(log)


def _optimizer(model, recipe):
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


def _windows(tokens, context):
    """Windows of ``context`` inputs and the token after them; the last token of one is the first of
    the next.
    """
    return tokens.unfold(0, context + 1, context)


def _batches(windows, recipe):
    in_order = len(windows) // recipe.batch_size
    for step in range(recipe.steps):
        epoch, place = divmod(step, in_order)
        if place == 0:
            order = torch.randperm(
                len(windows),
                generator=torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch),
            )
        yield windows[order[place * recipe.batch_size : (place + 1) * recipe.batch_size]]


def _loss(model, batch):
    logits = model(input_ids=batch[:, :-1], use_cache=False).logits
    return nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


@torch.no_grad()
def _validate(model, text, recipe, device):
    windows = _windows(text.tokens["validation"], recipe.context)[:_VALIDATED].to(device)
    return float(
        np.average(
            [_loss(model, batch).item() for batch in windows.split(64)],
            weights=[len(batch) for batch in windows.split(64)],
        )
    )


def _save(model, folder, step):
    from safetensors.torch import save_file

    place = folder / f"step{step}"
    place.mkdir(exist_ok=True)
    # transformers 5 renamed what the hub's files call embed_out.
    weights = {
        name.replace("lm_head", "embed_out"): (
            parameter.detach().to("cpu", torch.float16).contiguous()
        )
        for name, parameter in model.named_parameters()
    }
    with atomic_path(place / "model.safetensors") as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})
    (place / "config.json").write_text(
        json.dumps(model.config.to_dict(), indent=1, sort_keys=True) + "\n"
    )
