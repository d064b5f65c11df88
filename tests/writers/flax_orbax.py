"""flax's msgpack files, orbax's folders as flax writes them, and Levanter's tensorstore leaves.

``python tests/writers/flax_orbax.py OUT``"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import serialization
from flax.training import checkpoints, train_state
from tiny import CLASSES, HIDDEN, STEPS, VOCABULARY, WIDTH, Oracle


class Net(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        hidden = nn.Dense(HIDDEN)(nn.Embed(VOCABULARY, WIDTH)(tokens).mean(1))
        return nn.Dense(CLASSES, use_bias=False, dtype=jnp.float32)(nn.relu(hidden))


def states():
    """(step, train state), with Adam's moments."""
    tokens = jnp.asarray(np.random.default_rng(0).integers(VOCABULARY, size=(8, 4)))
    labels = jnp.asarray(np.random.default_rng(1).integers(CLASSES, size=8))
    net = Net()
    state = train_state.TrainState.create(
        apply_fn=net.apply,
        params=net.init(jax.random.key(0), tokens)["params"],
        tx=optax.adamw(0.05),
    )

    def loss(params):
        logits = net.apply({"params": params}, tokens)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    for start, step in zip((0, *STEPS), STEPS):
        for _ in range(start, step):
            state = state.apply_gradients(grads=jax.grad(loss)(state.params))
        yield step, state


def named(params, prefix=""):
    for key, value in sorted(params.items()):
        if isinstance(value, dict):
            yield from named(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", np.asarray(value, np.float32)


def each(out, write):
    oracle = Oracle()
    (out / "run").mkdir(parents=True)
    for step, state in states():
        write(out / "run", step, state)
        oracle.add(step, named(state.params))
    oracle.save(out)


def msgpack(where, step, state):
    """As transformers does: parameters alone, one file a folder."""
    folder = where / f"checkpoint-{step}"
    folder.mkdir()
    (folder / "flax_model.msgpack").write_bytes(serialization.to_bytes(state.params))


def msgpack_train_state(where, step, state):
    (where / f"checkpoint_{step}.msgpack").write_bytes(serialization.to_bytes(state))


def flax_legacy(where, step, state):
    """What flax.training.checkpoints wrote before orbax: msgpack without an ending."""
    import flax

    flax.config.update("flax_use_orbax_checkpointing", False)
    checkpoints.save_checkpoint(where, state, step, keep=10, overwrite=True)


def orbax_standard(where, step, state):
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(where.absolute()) as manager:
        content = {"params": state.params, "opt_state": state.opt_state}
        manager.save(step, args=ocp.args.StandardSave(content), force=True)
        manager.wait_until_finished()


def orbax_zarr(where, step, state):
    """Without ocdbt: a zarr folder a tensor, which older versions wrote."""
    import orbax.checkpoint as ocp

    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_zarr3=False)
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save((where / f"step_{step}").absolute(), {"params": state.params})


def levanter(where, step, state):
    """stanford-crfm/levanter at 9263f81, tensorstore_serialization.py: by jax's own serializer, a
    zarr folder a leaf.
    """
    import json

    from jax.experimental.array_serialization import serialization as arrays

    folder = where / f"step-{step}"
    leaves = {"model": state.params, "opt_state": {"mu": state.opt_state[0].mu}}
    named_leaves = dict(named(leaves))
    manager = arrays.GlobalAsyncCheckpointManager()
    paths = [str(folder.joinpath(*name.split("."))) for name in named_leaves]
    manager.serialize_with_paths(
        [jnp.asarray(value) for value in named_leaves.values()],
        paths,
        on_commit_callback=lambda: None,
    )
    manager.wait_until_finished()
    (folder / "metadata.json").write_text(json.dumps({"step": step, "is_temporary": False}))


CASES = dict(
    levanter=levanter,
    msgpack=msgpack,
    msgpack_train_state=msgpack_train_state,
    flax_legacy=flax_legacy,
    orbax_standard=orbax_standard,
    orbax_zarr=orbax_zarr,
)

if __name__ == "__main__":
    for name in sys.argv[2:] or CASES:
        each(Path(sys.argv[1]).absolute() / name, CASES[name])
