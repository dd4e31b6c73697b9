"""The PyTorch twin of the LSTM benchmark: one layer, f32, batch 16, input 256, hidden 256, two threads.

    pip install torch==2.15.0 numpy
    python crates/emberline-backend/benches/lstm_torch.py

prints one JSON line a measurement. Times are the median and the minimum of the runs after a warm-up:
the forward pass without gradients, and forward and backward of the output's sum, with gradients of the
input and of every parameter. Memory is the peak of resident memory during one forward and backward less
the resident memory before, weights and input included, each length in a process of its own (Linux only).
"""

import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

N_THREADS = 2
BATCH_SIZE, D_INPUT, D_HIDDEN = 16, 256, 256
TIMED_LENGTH = 64
MEMORY_LENGTHS = (64, 128, 256)
N_WARM_UP, N_RUNS = 20, 100


def model_and_input(batch_size: int, seq_length: int, d_input: int, d_hidden: int):
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(d_input, d_hidden, batch_first=True)
    return lstm, torch.randn(batch_size, seq_length, d_input, requires_grad=True)


def forward(lstm: torch.nn.LSTM, x: torch.Tensor) -> None:
    with torch.no_grad():
        lstm(x)


def forward_backward(lstm: torch.nn.LSTM, x: torch.Tensor) -> None:
    lstm.zero_grad(set_to_none=True)
    x.grad = None
    output, _ = lstm(x)
    output.sum().backward()


def timed(name: str, run) -> dict:
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


def peak_memory(seq_length: int) -> dict:
    # A tiny pass first: the pages of PyTorch's code and its thread pool are not the LSTM's memory.
    forward_backward(*model_and_input(1, 2, 8, 8))
    # Resets VmHWM, which otherwise remembers the import of torch.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_kib("VmRSS")
    forward_backward(*model_and_input(BATCH_SIZE, seq_length, D_INPUT, D_HIDDEN))
    peak_mib = (resident_kib("VmHWM") - before) / 1024
    return {"name": f"lstm memory {BATCH_SIZE}x{seq_length}x{D_HIDDEN}", "peak_mib": peak_mib}


def main() -> None:
    torch.set_num_threads(N_THREADS)
    match sys.argv[1:]:
        case ["memory", seq_length]:
            print(json.dumps(peak_memory(int(seq_length))))
        case []:
            lstm, x = model_and_input(BATCH_SIZE, TIMED_LENGTH, D_INPUT, D_HIDDEN)
            shape = f"{BATCH_SIZE}x{TIMED_LENGTH}x{D_HIDDEN}"
            print(json.dumps(timed(f"lstm forward {shape}", lambda: forward(lstm, x))))
            print(json.dumps(timed(f"lstm forward+backward {shape}", lambda: forward_backward(lstm, x))), flush=True)
            for seq_length in MEMORY_LENGTHS:
                subprocess.run([sys.executable, __file__, "memory", str(seq_length)], check=True)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
