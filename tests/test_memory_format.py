"""No recipe trains with convolutions whose gradients torch's CPU code writes out of bounds."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch

from trajhelpers.lab.training.models import build_model, memory_format


@pytest.mark.parametrize("width", [2, 4, 8, 14, 16, 18, 32])
@pytest.mark.parametrize("name", ["mlp", "vgg", "resnet", "vit"])
def test_strided_convolutions_of_few_channels_are_contiguous(name, width):
    model = build_model(name, width, channels=1, pixels=8, classes=10)
    few = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Conv2d)
        and module.kernel_size == (1, 1)
        and module.stride != (1, 1)
        and module.in_channels < 16
    ]
    expected = torch.contiguous_format if few else torch.channels_last
    assert memory_format(model) == expected
    assert bool(few) == (name == "resnet" and width < 16)


TRAINS = textwrap.dedent("""
    import sys
    import trajhelpers as th
    recipe = th.training.Recipe(
        model="resnet", width=2, data="digits", learning_rate=0.1, batch_size=100, steps=10,
        checkpoints=1)
    th.training.train(recipe, sys.argv[1], device="cpu", progress=False)
    print("sound")
""")


@pytest.mark.parametrize("instructions", ["AVX2", ""])
def test_training_leaves_the_heap_sound(tmp_path, instructions):
    """In channels_last order glibc's checking malloc ends this with AVX2."""
    checking = {"MALLOC_CHECK_": "3", "LD_PRELOAD": "libc_malloc_debug.so.0"}
    chosen = {"ONEDNN_MAX_CPU_ISA": instructions} if instructions else {}
    process = subprocess.run(
        [sys.executable, "-c", TRAINS, str(tmp_path / "run")],
        env=os.environ | checking | chosen | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0 and process.stdout == "sound\n", process.stderr[-2000:]
