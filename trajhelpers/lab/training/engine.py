"""Who computes a step: this process alone, or those that torchrun started, through accelerate."""

import os

from ...errors import missing_extra
from ...streaming.devices import choose_device


class OneProcess:
    """What a run uses of accelerate's Accelerator, where one process trains in one precision and
    needs none of it.
    """

    process_index, num_processes, is_main_process = 0, 1, True

    def __init__(self, device):
        self.device = device

    def prepare(self, model):
        return model

    def backward(self, loss):
        loss.backward()

    def wait_for_everyone(self):
        pass


def choose_engine(device: str, mixed_precision: bool):
    """An Accelerator where it is needed, else `OneProcess`."""
    if not mixed_precision and int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return OneProcess(choose_device(device))
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise missing_extra(
            "training with several processes, or in bfloat16,", "accelerate", "distributed"
        ) from error
    return Accelerator(
        cpu=choose_device(device) == "cpu", mixed_precision="bf16" if mixed_precision else "no"
    )


def over_all_processes(engine, numbers):
    """The sum of a float64 tensor of each process, as a list."""
    if engine.num_processes > 1:
        # NCCL takes nothing from the CPU
        numbers = engine.reduce(numbers.to(engine.device), "sum")
    return numbers.tolist()
