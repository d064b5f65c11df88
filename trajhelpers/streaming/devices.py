"""On which device to compute."""

from ..errors import missing_extra


def choose_device(device: str) -> str:
    """The name of a device that is there, for ``"auto"`` a GPU of CUDA's, else the CPU. ValueError
    where it is not there. The CPU needs no torch.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        if device in ("auto", "cpu"):
            return "cpu"
        raise missing_extra(f"device={device!r}", "torch", "torch") from error

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = None
    if kind not in ("cpu", "cuda", "mps"):
        raise ValueError(
            f"device: expected 'auto', 'cpu', 'cuda', 'cuda:<i>' or 'mps', got {device!r}"
        )
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device: {device!r} was asked for, but torch {torch.__version__} finds no CUDA device;"
            " use device='cpu'"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device: 'mps' was asked for, but torch finds none; use device='cpu'")
    return str(device)
