"""The twin of the benchmark of few-shot scoring, in lm-evaluation-harness: GPT-2 of the smallest published size with random
weights, f32, batches of 8, two threads. Each request is a choice of "odd one out" of BIG-bench after three examples.

    pip install torch==2.15.0 transformers==5.24.0 lm_eval==0.4.13
    RAYON_NUM_THREADS=2 python crates/emberline-evaluation/benches/few_shot_lm_eval.py

leaves the model, its tokenizer and the requests with their scores in `target/few_shot`, where `few_shot.rs` finds them, and
prints one JSON line, named as there: requests a second, tokens made of the texts included, three times after a warm-up.
"""

import json
import random
import statistics
import time
from pathlib import Path

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

ROOT = Path(__file__).parents[3]
DATASETS = ROOT / "datasets"
FOLDER = ROOT / "target" / "few_shot"
N_ITEMS, N_EXAMPLES = 24, 3


def items_of(task: dict) -> list[dict]:
    def asked(example: dict) -> str:
        return f"Q: {example['input']}\nA:"

    def answered(example: dict) -> str:
        return f"{asked(example)} {max(example['target_scores'], key=example['target_scores'].get)}\n\n"

    random.seed(0)
    asked_of, rest = task["examples"][:N_ITEMS], task["examples"][N_ITEMS:]
    return [
        {
            "context": "".join(map(answered, random.sample(rest, N_EXAMPLES))) + asked(example),
            "choices": [f" {choice}" for choice in example["target_scores"]],
        }
        for example in asked_of
    ]


def main() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    FOLDER.mkdir(parents=True, exist_ok=True)
    byte_pairs = DATASETS / "gpt2-bpe"
    tokenizer = GPT2TokenizerFast(vocab=str(byte_pairs / "encoder.json"), merges=str(byte_pairs / "vocab.bpe"))
    tokenizer.pad_token = tokenizer.eos_token
    model = GPT2LMHeadModel(GPT2Config()).eval()
    model.save_pretrained(FOLDER)
    tokenizer.save_pretrained(FOLDER)

    items = items_of(json.loads((DATASETS / "bigbench" / "odd_one_out.json").read_text()))
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, device="cpu")
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=(item["context"], choice), idx=index)
        for item in items
        for index, choice in enumerate(item["choices"])
    ]
    found = harness.loglikelihood(requests, disable_tqdm=True)
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        found = harness.loglikelihood(requests, disable_tqdm=True)
        rates.append(len(requests) / (time.perf_counter() - start))

    left = iter(found)
    scores = [[next(left)[0] for _ in item["choices"]] for item in items]
    (FOLDER / "requests.json").write_text(json.dumps({"items": items, "scores": scores}))
    name = "few-shot requests of gpt2"
    print(
        json.dumps(
            {"name": name, "median_requests_per_s": statistics.median(rates), "max_requests_per_s": max(rates)}
        )
    )


main()
