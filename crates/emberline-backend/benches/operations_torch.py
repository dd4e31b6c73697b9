"""The PyTorch twin of the benchmark of the Transformer's operations: f32, two threads.

    pip install torch==2.15.0 numpy
    python crates/emberline-backend/benches/operations_torch.py [PART OF A NAME]

prints one JSON line a measurement, named as in `operations.rs`: the median and the minimum of the runs after a
warm-up, of the forward pass without gradients, and of forward and backward of the output's sum with gradients of every
argument. With the argument `memory` it prints, instead, the peak of resident memory of one forward and backward pass of
cross-entropy beyond the weight and its gradient.
"""

import json
import re
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional

SHAPES = ((512, 768, 12), (768, 128, 4))
VOCABULARIES = ((512, 768, 8192), (512, 768, 50257), (768, 128, 512))


def timed(name: str, run) -> None:
    if not all(part in name for part in sys.argv[1:]):
        return

    def milliseconds_of_one() -> float:
        start = time.perf_counter()
        run()
        return (time.perf_counter() - start) * 1e3

    # Operations of a second run less often.
    runs = 10 if milliseconds_of_one() > 100 else 100
    for _ in range(runs // 5):
        run()
    milliseconds = [milliseconds_of_one() for _ in range(runs)]
    print(json.dumps({"name": name, "median_ms": statistics.median(milliseconds), "min_ms": min(milliseconds)}))


def passes(name: str, what: str, arguments: list[torch.Tensor], function) -> None:
    def forward() -> None:
        with torch.no_grad():
            function(*arguments)

    def forward_backward() -> None:
        for argument in arguments:
            argument.grad = None
        function(*arguments).sum().backward()

    timed(f"{name} forward {what}", forward)
    timed(f"{name} forward+backward {what}", forward_backward)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, requires_grad=True)


def resident_kib(field: str) -> int:
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def pass_kib(tokens: int, width: int, words: int) -> int:
    hidden, table, ids = random(tokens, width), random(words, width), torch.randint(words, (tokens,))
    # Resets VmHWM, which otherwise remembers the import of torch.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_kib("VmRSS")
    functional.cross_entropy(hidden @ table.T, ids, reduction="sum").backward()
    return resident_kib("VmHWM") - before


def peak_memory(tokens: int, width: int, words: int) -> None:
    # Once at the smallest size: the pages of PyTorch's code and its thread pool are not the operation's memory.
    pass_kib(1, 1, 2)
    peak = pass_kib(tokens, width, words) - words * width * 4 // 1024
    print(json.dumps({"name": f"cross_entropy memory {tokens}x{width}x{words}", "peak_mib": peak / 1024}))


def main() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    if sys.argv[1:] == ["memory"]:
        return peak_memory(*VOCABULARIES[1])
    for tokens, width, heads in SHAPES:
        arguments = [random(tokens, width), random(width), random(width)]
        passes("layer_norm", f"{tokens}x{width}", arguments, lambda x, g, b: functional.layer_norm(x, (len(g),), g, b))
        for form in ("tanh", "none"):
            name = "gelu tanh" if form == "tanh" else "gelu exact"
            arguments = [random(tokens, 4 * width)]
            passes(name, f"{tokens}x{4 * width}", arguments, lambda x: functional.gelu(x, approximate=form))
        for causal in (False, True):
            arguments = [random(1, heads, tokens, width // heads) for _ in range(3)]
            name = "causal attention" if causal else "attention"
            attention = lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
            passes(name, f"{tokens}x{width}x{heads}", arguments, attention)
        arguments = [random(tokens, width), random(4 * width, width), random(4 * width)]
        linear = lambda x, weight, bias: functional.relu(functional.linear(x, weight, bias))
        passes("linear relu", f"{tokens}x{width}x{4 * width}", arguments, linear)
        passes("dropout", f"{tokens}x{width}", [random(tokens, width)], lambda x: functional.dropout(x, 0.1))
    for tokens, width, words in VOCABULARIES:
        what, ids = f"{tokens}x{width}x{words}", torch.randint(words, (tokens,))
        passes("embedding", what, [random(words, width)], lambda table: functional.embedding(ids, table))
        tied = lambda h, table: functional.cross_entropy(h @ table.T, ids, reduction="sum")
        passes("cross_entropy tied", what, [random(tokens, width), random(words, width)], tied)
        own = lambda h, weight: functional.cross_entropy(h @ weight, ids, reduction="sum")
        passes("cross_entropy own", what, [random(tokens, width), random(width, words)], own)


if __name__ == "__main__":
    main()
