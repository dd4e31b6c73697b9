"""The twin of the benchmark of GPT-2, in transformers: f32, two threads, no dropout.

    pip install torch==2.15.0 transformers numpy
    python crates/emberline-models/benches/gpt2_torch.py

prints one JSON line a measurement, named as in `gpt2.rs`: the median and the minimum of the runs after a warm-up, and the
peak of resident memory of the updates beyond what the process had before the model.
"""

import json
import statistics
import time
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

torch.set_num_threads(2)


def report(name: str, runs: int, run) -> None:
    for _ in range((runs + 4) // 5):
        run()
    milliseconds = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        milliseconds.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"name": name, "median_ms": statistics.median(milliseconds), "min_ms": min(milliseconds)}), flush=True)


def resident_mib(line: str) -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(text.split()[1]) for text in status.splitlines() if text.startswith(line)) / 1024


def training_step(name: str, runs: int, config: GPT2Config, shape: tuple[int, int]) -> None:
    model = GPT2LMHeadModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    tokens = torch.randint(config.vocab_size, shape)

    def step() -> None:
        optimizer.zero_grad()
        logits = model(tokens).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()

    report(name, runs, step)


def main() -> None:
    torch.manual_seed(0)
    none = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    small = GPT2Config(**none)
    before = resident_mib("VmRSS:")
    training_step("gpt2 training step 4x128", 10, small, (4, 128))
    print(json.dumps({"name": "gpt2 training step 4x128 memory", "peak_mib": resident_mib("VmHWM:") - before}), flush=True)

    model = GPT2LMHeadModel(small).eval()
    tokens = torch.randint(small.vocab_size, (1, 512))

    def forward() -> None:
        with torch.inference_mode():
            model(tokens)

    report("gpt2 forward 1x512", 10, forward)

    char_gpt = GPT2Config(vocab_size=65, n_positions=64, n_embd=128, n_layer=4, n_head=4, **none)
    training_step("char-gpt training step 12x64", 100, char_gpt, (12, 64))


main()
