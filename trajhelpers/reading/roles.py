"""What the names in a checkpoint say of its parts: which is an optimizer's, an average, a side
network, and which is what a training loop calls its model.
"""

import re

# What training loops call the one network that they train.
# fmt: off
MODEL = {
    "state_dict", "model_state_dict", "model_state", "model", "module", "network", "net",
    "params", "weights", "student", "online", "online_model", "trained",
}
# fmt: on
# Parts of a training loop that hold tensors and are no networks.
_ASIDE = {
    "scheduler": "a scheduler's state",
    "sched": "a scheduler's state",
    "lr": "a scheduler's state",
    "scaler": "a gradient scaler's state",
    "rng": "a generator's state",
    "random": "a generator's state",
    "sampler": "a sampler's state",
    "dataloader": "a loader's state",
    "loader": "a loader's state",
    "dataset": "a data set's state",
    "callbacks": "callbacks' state",
    "callback": "callbacks' state",
    "algorithms": "algorithms' state",
    "loops": "the loop's state",
    "metrics": "metrics",
    "metric": "metrics",
    "loss": "a loss's state",
    "losses": "losses",
    "criterion": "a loss's state",
    "history": "a history",
    "log": "a log",
    "logs": "a log",
    "message_hub": "a log",
    "stats": "statistics",
    "rms": "statistics",
    "normalizer": "statistics",
    "config": "settings",
    "cfg": "settings",
    "args": "settings",
    "hparams": "settings",
    "hyper_parameters": "settings",
    "hyperparameters": "settings",
    "meta": "settings",
    "metadata": "settings",
    "replay": "a replay buffer",
    "replay_buffer": "a replay buffer",
    "queue": "a queue",
    "grad": "gradients",
    "grads": "gradients",
    "gradients": "gradients",
}
# What optimizers of torch and others keep for each parameter.
# fmt: off
SLOTS = {
    "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "exp_avg_diff", "exp_avg_slow",
    "exp_avg_sq_row", "exp_avg_sq_col", "exp_avg_res", "neg_pre_grad", "momentum_buffer",
    "square_avg", "grad_avg", "sqr_avg", "acc_delta", "hessian_diag", "prev_grad",
    "previous_update_buffer",
}
# fmt: on
_OPTIMIZER = re.compile(r"optim(izer|iser)?s?|opts?|adamw?|sgd|rmsprop|adagrad|adafactor|muon|lion")
_AVERAGE = {"ema", "emas", "swa", "polyak", "averaged", "avg", "shadow", "shadows"}
# Others that a network is trained against or beside; where they stand next to each other, nobody
# can say which is meant.
# fmt: off
_NETWORKS = {
    "g", "d", "generator", "discriminator", "netg", "netd", "gen", "disc", "critic", "actor",
    "policy", "target", "teacher", "encoder_q", "encoder_k",
}
# fmt: on
_COPIES = {"teacher", "target", "ref", "reference", "old", "prev", "previous", "best", "momentum"}
# Which mean a copy only beside what a training loop calls its model: a layer may be slow too.
_LIKE_COPIES = {"copy", "moving", "slow", "lagged", "frozen", "init", "initial", "mean", "backup"}
_STATE = re.compile(r"(_state_dicts?|_states?|_dict)$")


def words_of(key: str) -> list[str]:
    """
    >>> words_of("last_optimizerState"), words_of("netG")
    (['last', 'optimizer', 'state'], ['net', 'g'])
    """
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", key)]


def is_model(key: str) -> bool:
    """Whether it is what a training loop calls its model."""
    return key.lower() in MODEL


def is_optimizer(key: str) -> bool:
    """
    >>> [is_optimizer(key) for key in ("optimizer_states", "optimizerD", "optical_flow")]
    [True, True, False]
    """
    return key == "param_states" or any(_OPTIMIZER.fullmatch(word) for word in words_of(key))


def is_average(key: str) -> bool:
    """
    >>> [is_average(key) for key in ("state_dict_ema", "shadow_params", "schema")]
    [True, True, False]
    """
    return not _AVERAGE.isdisjoint(words_of(key)) or key == "moving_average"


def is_copy(key: str) -> bool:
    """Whether it may be a copy of the network beside it: a teacher, a target."""
    return not _COPIES.isdisjoint(words_of(key))


def is_like_copy(key: str) -> bool:
    """Whether it may be a copy of the model beside it.

    >>> [is_like_copy(key) for key in ("net_slow", "moving", "projector")]
    [True, True, False]
    """
    return is_copy(key) or not _LIKE_COPIES.isdisjoint(words_of(key))


def originals(key: str) -> list[str]:
    """What the network may be called that a copy is of which the name is known.

    >>> originals("q_net_target"), originals("teacher"), originals("encoder_k"), originals("head")
    (['q_net'], ['student'], ['encoder_q'], [])
    """
    pairs = {"teacher": "student", "target": "online", "encoder_k": "encoder_q"}
    for copy, original in pairs.items():
        if key == copy or (key.startswith(f"{copy}_") and copy != "encoder_k"):
            found = original + key[len(copy) :]
            return [found, key.removeprefix(f"{copy}_")] if key != copy else [found]
    for word in ("target", "teacher", "momentum"):
        if key.endswith(f"_{word}"):
            return [key.removesuffix(f"_{word}")]
        if key.startswith(f"{word}_"):
            return [key.removeprefix(f"{word}_")]
    return []


def is_one_of_several(key: str) -> bool:
    """Whether a network of this name stands beside others."""
    return key.lower() in _NETWORKS or any(
        word in _NETWORKS for word in words_of(key) if len(word) > 1
    )


def aside(key: str) -> str | None:
    """What a part of a training loop holds that is no network.

    >>> aside("lr_schedulers"), aside("amp_scaler"), aside("log_scale")
    ("a scheduler's state", "a gradient scaler's state", None)
    """
    key = _STATE.sub("", key.lower())
    for name in (key, key.removesuffix("s"), key.rpartition("_")[2], key.rpartition("_")[2][:-1]):
        if name in _ASIDE:
            return _ASIDE[name]
    return None
