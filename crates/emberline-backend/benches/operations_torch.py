"""The PyTorch twin of the benchmark of the Transformer's operations: f32, two threads.

    pip install torch==2.15.0 numpy
    python crates/emberline-backend/benches/operations_torch.py [PART OF A NAME]

prints one JSON line a measurement, named as in `operations.rs`: the median and the minimum of the runs after a
warm-up, of the forward pass without gradients, and of forward and backward of the output's sum with gradients of every
argument.
"""

import json
import statistics
import sys
import time

import torch
from torch.nn import functional

SHAPES = ((512, 768, 12), (768, 128, 4))
N_WARM_UP, N_RUNS = 20, 100


def timed(name: str, run) -> None:
    if not all(part in name for part in sys.argv[1:]):
        return
    for _ in range(N_WARM_UP):
        run()
    milliseconds = []
    for _ in range(N_RUNS):
        start = time.perf_counter()
        run()
        milliseconds.append((time.perf_counter() - start) * 1e3)
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


def main() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(0)
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


if __name__ == "__main__":
    main()
