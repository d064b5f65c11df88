"""What training loops write beside the weights, by its name."""

import re

# Of transformers' Trainer, accelerate, DeepSpeed, OLMo, verl, Lightning, Megatron, torchtune.
_SIDE = re.compile(
    r"^(optimizer|optim|scheduler|rng_state|random_states|training_args|trainer_state|scaler"
    r"|sampler|dataloader|custom_checkpoint|extra_state|recipe_state)(?![a-z])"
    r"|^(train|meta|common)\.pt$|optim_states|optimizer",
    re.IGNORECASE,
)


def is_side_file(name: str) -> bool:
    """Whether a training loop writes it beside the weights.

    >>> is_side_file("optimizer.pt"), is_side_file("optim_000010_rank0.pt")
    (True, True)
    >>> is_side_file("pytorch_model.bin"), is_side_file("optimal_step_5.pt")
    (False, False)
    """
    return bool(_SIDE.search(name))
