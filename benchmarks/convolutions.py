"""Which convolutions can torch's CPU code not be trusted with, as processor and threads choose it?

    python benchmarks/convolutions.py --threads 1
    ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/convolutions.py --threads 1

oneDNN (as in torch 2.14.1; its issue 6035) writes past its workspace when it computes the gradient
of the weights of a 1 × 1 convolution with a stride, in channels_last order, that has fewer input
channels than a vector has floats: 8 with AVX2, 16 with AVX-512. Larger images write further, and
small ones stay within what the allocation has to spare.

Each shape runs in a child process under glibc's checking malloc, which ends it at the first damaged
block; outputs and gradients are compared with float64 without oneDNN. A cell is the first failure
over output channels, images and batches, the largest first:

    .  sound     W  values are wrong     D  died, or damaged the heap     H  hangs

Takes one to four minutes. ONEDNN_VERBOSE=1 before a run of one's own says which code it takes.
"""

import argparse
import itertools
import os
import select
import subprocess
import sys

CHANNELS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 16, 24, 32)
KINDS = ((1, 2), (1, 1), (2, 2), (3, 2), (3, 1))  # kernel, stride
OUTPUTS, PIXELS, BATCHES = (1, 4, 16), (4, 7, 8, 14, 32, 64), (1, 29, 64)
ROUNDS, SECONDS = 3, 10


def shapes(kernel, stride, channels):
    """(output channels, pixels, batch), the largest first."""
    images = PIXELS if (kernel, stride) == (1, 2) else (8, 14)
    every = itertools.product(OUTPUTS, images, BATCHES)
    return [(kernel, stride, channels, *shape) for shape in every if shape[1:] != (64, 64)][::-1]


def child(threads):
    """Read a shape a line, answer with a word a line."""
    import torch
    from torch.nn.functional import conv2d

    torch.set_num_threads(threads)

    def results(x, w, g, order, dtype, stride, padding):
        x, w, g = (t.detach().to(dtype).clone(memory_format=order) for t in (x, w, g))
        x.requires_grad_(), w.requires_grad_()
        y = conv2d(x, w, stride=stride, padding=padding)
        y.backward(g)
        return y.detach(), x.grad, w.grad

    for line in sys.stdin:
        order, kernel, stride, inputs, outputs, pixels, batch = line.split()
        kernel, stride, inputs, outputs, pixels, batch = map(
            int, (kernel, stride, inputs, outputs, pixels, batch)
        )
        torch.manual_seed(inputs)
        padding = kernel // 2 if kernel == 3 else 0
        x = torch.randn(batch, inputs, pixels, pixels)
        w = torch.randn(outputs, inputs, kernel, kernel)
        g = torch.randn(conv2d(x, w, stride=stride, padding=padding).shape)
        with torch.backends.mkldnn.flags(enabled=False):
            expected = results(x, w, g, torch.contiguous_format, torch.float64, stride, padding)
        sound = True
        for _ in range(ROUNDS):
            found = results(x, w, g, getattr(torch, order), torch.float32, stride, padding)
            for a, b in zip(found, expected):
                sound &= bool((a - b).abs().max() <= 1e-4 * b.abs().max())
            del found, a, b
        print("." if sound else "W", flush=True)


class Child:
    """A process that runs shapes until one of them ends it."""

    def __init__(self, threads):
        checking = {
            "MALLOC_CHECK_": "3",
            "LD_PRELOAD": "libc_malloc_debug.so.0",
            "OMP_NUM_THREADS": str(threads),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, "--child", "--threads", str(threads)],
            env=os.environ | checking,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def verdict(self, order, shape):
        try:
            print(order, *shape, file=self.process.stdin, flush=True)
            if not select.select([self.process.stdout], [], [], SECONDS)[0]:
                return "H"
            return self.process.stdout.readline().strip() or "D"
        except BrokenPipeError:
            return "D"

    def end(self):
        self.process.kill()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return child(arguments.threads)
    print(
        f"ONEDNN_MAX_CPU_ISA={os.environ.get('ONEDNN_MAX_CPU_ISA', '')}, "
        f"{arguments.threads} thread(s); input channels:"
    )
    print(f"{'':28}" + "".join(f"{channels:>4}" for channels in CHANNELS))
    process = Child(arguments.threads)
    for order, (kernel, stride) in itertools.product(("channels_last", "contiguous_format"), KINDS):
        cells, causes = [], []
        for channels in CHANNELS:
            cell = "."
            for shape in shapes(kernel, stride, channels):
                cell = process.verdict(order, shape)
                if cell != ".":
                    outputs, pixels, batch = shape[3:]
                    causes.append(f"{channels} -> {outputs}, {pixels} px, batch {batch}: {cell}")
                    if cell != "W":
                        process.end()
                        process = Child(arguments.threads)
                    break
            cells.append(cell)
        row = "".join(f"{cell:>4}" for cell in cells)
        print(f"{order:18}{kernel} x {kernel} /{stride}  {row}", flush=True)
        for cause in causes:
            print(f"{'':22}{cause}")
    process.end()


if __name__ == "__main__":
    main()
