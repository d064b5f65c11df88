"""GPT-NeoX networks with the initialization that Pythia's had.

From EleutherAI/pythia, models/14M/pythia-14m.yml, and the code of gpt-neox that it configures:
normal initialization with variance 2 / (5 width) ("small_init"), of the matrices that write to the
residual stream with deviation 2 / (layers √width) ("wang_init"); parallel residual, rotary
embeddings on a quarter of each head, input and output embeddings untied."""

import torch
from torch import nn

from ...errors import missing_extra
from .recipes.language import HEAD


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
