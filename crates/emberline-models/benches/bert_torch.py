"""The twin of the benchmark of BERT, in transformers: the base size, f32, two threads, no dropout.

    pip install torch==2.15.0 transformers numpy
    python crates/emberline-models/benches/bert_torch.py [memory]

prints one JSON line a measurement, named as in `bert.rs`: the median and the minimum of the runs after a warm-up. With the
argument `memory` it prints, instead, the peak of resident memory of making the classifier and taking two steps, weights
included.
"""

import json
import re
import statistics
import sys
import time
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel

ROWS, LENGTH = 8, 128


def report(name: str, runs: int, run) -> None:
    for _ in range(-(-runs // 5)):
        run()
    milliseconds = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        milliseconds.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"name": name, "median_ms": statistics.median(milliseconds), "min_ms": min(milliseconds)}))


def finetuning(config: BertConfig, rows: int, length: int):
    model = BertForSequenceClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-5, weight_decay=0.01)
    tokens, labels = torch.randint(config.vocab_size, (rows, length)), torch.randint(2, (rows,))

    def step() -> None:
        optimizer.zero_grad()
        model(tokens, labels=labels).loss.backward()
        optimizer.step()

    return step


def without_dropout(**sizes) -> BertConfig:
    return BertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **sizes)


def resident_kib(field: str) -> int:
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def peak_memory() -> None:
    small = without_dropout(
        vocab_size=8, hidden_size=64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=64
    )
    # Once at the smallest size: the pages of PyTorch's code and its thread pool are not the step's memory.
    finetuning(small, 2, 2)()
    # Resets VmHWM, which otherwise remembers the import of torch.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_kib("VmRSS")
    step = finetuning(without_dropout(), ROWS, LENGTH)
    step()
    step()
    name = f"bert base fine-tuning memory {ROWS}x{LENGTH}"
    print(json.dumps({"name": name, "peak_mib": (resident_kib("VmHWM") - before) / 1024}))


def main() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    if sys.argv[1:] == ["memory"]:
        return peak_memory()
    bert = BertModel(BertConfig()).eval()
    for rows in [1, ROWS]:
        tokens = torch.randint(30522, (rows, LENGTH))

        def forward() -> None:
            with torch.inference_mode():
                bert(tokens)

        report(f"bert base forward {rows}x{LENGTH}", 20, forward)
    report(f"bert base fine-tuning step {ROWS}x{LENGTH}", 5, finetuning(without_dropout(), ROWS, LENGTH))


main()
