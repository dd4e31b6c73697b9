"""The twin of the benchmark of decoding, in transformers: GPT-2 of the smallest published size, f32, two threads.

    pip install torch==2.15.0 transformers numpy
    python crates/emberline-models/benches/decoding_torch.py

prints one JSON line a measurement, named as in `decoding.rs`: tokens a second of `generate`, prompts of 128 tokens and 128
new ones, three times after a short one.
"""

import json
import statistics
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel

torch.set_num_threads(2)


def main() -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config()).eval()
    for rows in [1, 8]:
        prompts = torch.randint(50257, (rows, 128))

        def run(n: int) -> float:
            start = time.perf_counter()
            with torch.inference_mode():
                model.generate(
                    prompts, attention_mask=torch.ones_like(prompts), do_sample=False, min_new_tokens=n, max_new_tokens=n
                )
            return rows * n / (time.perf_counter() - start)

        run(8)
        rates = [run(128) for _ in range(3)]
        name = f"decoding f32, {rows} at a time"
        print(
            json.dumps(
                {"name": name, "median_tokens_per_s": statistics.median(rates), "max_tokens_per_s": max(rates)}
            )
        )


main()
