"""The text of the miniature suite, and which part of it is held out."""

import lzma
from typing import NamedTuple

import numpy as np
import torch

from ...errors import missing_extra
from ..data import data_file

_HELD_OUT = 20  # every so many-th piece of the text is for validation
_PIECE = 2000  # characters
_BPE = "bible-kjv-bpe-2048.json"
_SUMS = 320_000  # lines, for more characters than a run reads


class Text(NamedTuple):
    """What `load_text` returns."""

    tokens: dict
    vocabulary: int
    characters_per_token: float


def load_text(tokens="characters"):
    """The King James Bible, or a null or another text beside it, as one line of tokens, of which
    every twentieth piece of 2,000 characters is held out.

    Parameters
    ----------
    tokens : str
        ``"characters"`` or ``"bpe-2048"``, which needs the package tokenizers (with transformers,
        the extra ``language``), of the Bible; ``"shuffled"``, its characters in an order drawn
        once; ``"sums"``, lines such as ``417+86=503`` of two numbers below 1,000.

    Returns
    -------
    Text
        ``tokens["train"]`` and ``tokens["validation"]``: int64 tensors, one number a token;
        ``vocabulary``, how many there are; ``characters_per_token`` of the validation text.

    >>> text = load_text()
    >>> text.vocabulary, {split: f"{len(tokens):,}" for split, tokens in text.tokens.items()}
    (63, {'train': '3,931,850', 'validation': '206,000'})
    """
    characters = _characters(tokens)
    splits = split_text(characters)
    if tokens != "bpe-2048":
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


def split_text(characters: str) -> dict[str, str]:
    """``"train"`` and ``"validation"``: every twentieth piece of 2,000 characters is held out.

    The tokenizer is trained on the same ``"train"`` (``data/make.py``).
    """
    pieces = [characters[at : at + _PIECE] for at in range(0, len(characters), _PIECE)]
    return {
        "train": "".join(piece for i, piece in enumerate(pieces, 1) if i % _HELD_OUT),
        "validation": "".join(pieces[_HELD_OUT - 1 :: _HELD_OUT]),
    }


def _characters(tokens):
    generator = np.random.default_rng(0)
    if tokens == "sums":
        pairs = generator.integers(0, 1000, (_SUMS, 2)).tolist()
        return "".join(f"{first}+{second}={first + second}\n" for first, second in pairs)
    packed = data_file("bible-kjv.txt.xz", "the text comes").read_bytes()
    characters = lzma.decompress(packed).decode("ascii")
    if tokens == "shuffled":
        return "".join(generator.permutation(list(characters)))
    return characters


def _tokenizers():
    try:
        import tokenizers
    except ImportError as error:
        raise missing_extra("tokens='bpe-2048'", "tokenizers", "language") from error
    return tokenizers
