"""The twin of the benchmark of sentence embeddings, as `sentence-transformers` makes them: lines sorted by length, batches
of 32, the mean of the vectors of the tokens, normalised. MiniLM's shape, f32, two threads.

    pip install torch==2.15.0 transformers numpy
    RAYON_NUM_THREADS=2 python crates/emberline/benches/sentences_torch.py

prints one JSON line, named as in `sentences.rs`: the median and the minimum of the runs after a warm-up.
"""

import json
import statistics
import time
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

DATASETS = Path(__file__).parents[3] / "datasets"
LINES, BATCH_SIZE = 1000, 32


def lines_of(text: str) -> list[str]:
    words, lines, start = text.split(), [], 0
    for line in range(LINES):
        n = 2 + line * 37 % 60
        lines.append(" ".join(words[start : start + n]))
        start += n
    return lines


def main() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    model = BertModel(config).eval()
    tokenizer = BertTokenizerFast(vocab=str(DATASETS / "bert-vocab/vocab.txt"), model_max_length=512)
    lines = lines_of((DATASETS / "austen/pride_and_prejudice.txt").read_text(encoding="utf-8"))

    def embed() -> torch.Tensor:
        order = sorted(range(LINES), key=lambda line: -len(lines[line]))
        found = [None] * LINES
        for start in range(0, LINES, BATCH_SIZE):
            indices = order[start : start + BATCH_SIZE]
            batch = tokenizer([lines[i] for i in indices], padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                hidden = model(**batch).last_hidden_state
                mask = batch["attention_mask"].unsqueeze(-1).float()
                means = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
                vectors = torch.nn.functional.normalize(means)
            for index, vector in zip(indices, vectors):
                found[index] = vector
        return torch.stack(found)

    embed()
    milliseconds = []
    for _ in range(5):
        start = time.perf_counter()
        embed()
        milliseconds.append((time.perf_counter() - start) * 1e3)
    name = "sentence embeddings of 1000 lines"
    print(json.dumps({"name": name, "median_ms": statistics.median(milliseconds), "min_ms": min(milliseconds)}))


main()
