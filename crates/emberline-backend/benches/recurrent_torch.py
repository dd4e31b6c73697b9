"""The PyTorch twin of the recurrent benchmark: the same layers, shapes, names and two threads, f32.

    pip install torch==2.15.0 numpy
    python crates/emberline-backend/benches/recurrent_torch.py [FILTER]

prints one JSON line a measurement, of those only whose name contains FILTER:
- `{rnn|gru|lstm} {forward|forward+backward} {batch}x{length}x{width}`: one layer whose input is as wide as
  its hidden state, the RNN with tanh
- `bidirectional {gru|lstm} ragged {forward|forward+backward} {batch}x{length}x{width}`: two bidirectional
  layers over rows of 8 to 64 steps, packed and padded again within the time
- `{rnn|gru|lstm} memory {batch}x{length}x{width}`: the peak of resident memory during one forward and
  backward of one layer less the resident memory before, weights and input included, each in a process of
  its own (Linux only)

Times are the median and the minimum of the runs after a warm-up: the forward pass without gradients, and
forward and backward of the output's sum, with gradients of the input and of every parameter.
"""

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

N_THREADS = 2
N_WARM_UP, N_RUNS = 20, 100
CELLS = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
# Batch size, length and width.
SHAPES = [(16, 64, 256), (64, 32, 512), (8, 256, 128)]
RAGGED_SHAPE = (32, 64, 256)
MEMORY_SHAPES = [(16, 64, 256), (16, 128, 256), (16, 256, 256)]


class Reader(torch.nn.Module):
    """Layers of one cell, and how rows are read: full, or packed where `lengths` are given."""

    def __init__(self, cell: str, width: int, lengths: torch.Tensor | None = None, **options):
        super().__init__()
        self.layers = CELLS[cell](width, width, batch_first=True, **options)
        self.lengths = lengths

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.lengths is None:
            return self.layers(x)[0]
        packed = pack_padded_sequence(x, self.lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.layers(packed)[0], batch_first=True, total_length=x.shape[1])[0]


def one_layer(cell: str, batch_size: int, seq_length: int, width: int) -> tuple[Reader, torch.Tensor]:
    torch.manual_seed(0)
    return Reader(cell, width), torch.randn(batch_size, seq_length, width, requires_grad=True)


def bidirectional(cell: str, batch_size: int, seq_length: int, width: int) -> tuple[Reader, torch.Tensor]:
    torch.manual_seed(0)
    lengths = torch.tensor([8 + (row * 37) % 57 for row in range(batch_size)])
    reader = Reader(cell, width, lengths, num_layers=2, bidirectional=True)
    return reader, torch.randn(batch_size, seq_length, width, requires_grad=True)


def forward(reader: Reader, x: torch.Tensor) -> None:
    with torch.no_grad():
        reader(x)


def forward_backward(reader: Reader, x: torch.Tensor) -> None:
    reader.zero_grad(set_to_none=True)
    x.grad = None
    reader(x).sum().backward()


def timed(name: str, run: Callable[[], None]) -> dict:
    for _ in range(N_WARM_UP):
        run()
    milliseconds = []
    for _ in range(N_RUNS):
        start = time.perf_counter()
        run()
        milliseconds.append((time.perf_counter() - start) * 1e3)
    return {"name": name, "median_ms": statistics.median(milliseconds), "min_ms": min(milliseconds)}


def resident_kib(field: str) -> int:
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def peak_memory(name: str, cell: str, shape: tuple[int, int, int]) -> dict:
    # A tiny pass first: the pages of PyTorch's code and its thread pool are not the layer's memory.
    forward_backward(*one_layer(cell, 1, 2, 8))
    # Resets VmHWM, which otherwise remembers the import of torch.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_kib("VmRSS")
    forward_backward(*one_layer(cell, *shape))
    return {"name": name, "peak_mib": (resident_kib("VmHWM") - before) / 1024}


def measure(wanted: str) -> None:
    layers = [(cell, one_layer, cell, shape) for shape in SHAPES for cell in CELLS]
    layers += [(f"bidirectional {cell} ragged", bidirectional, cell, RAGGED_SHAPE) for cell in ("gru", "lstm")]
    for title, make, cell, shape in layers:
        for kind, run in [("forward", forward), ("forward+backward", forward_backward)]:
            name = f"{title} {kind} {dimensions(shape)}"
            if wanted in name:
                reader, x = make(cell, *shape)
                print(json.dumps(timed(name, lambda: run(reader, x))), flush=True)
    for cell in CELLS:
        for shape in MEMORY_SHAPES:
            if wanted in memory_name(cell, shape):
                subprocess.run([sys.executable, __file__, "memory", cell, *map(str, shape)], check=True)


def dimensions(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))


def memory_name(cell: str, shape: tuple[int, int, int]) -> str:
    return f"{cell} memory {dimensions(shape)}"


def main() -> None:
    torch.set_num_threads(N_THREADS)
    match sys.argv[1:]:
        case []:
            measure("")
        case [wanted]:
            measure(wanted)
        case ["memory", cell, *shape]:
            shape = tuple(map(int, shape))
            print(json.dumps(peak_memory(memory_name(cell, shape), cell, shape)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
