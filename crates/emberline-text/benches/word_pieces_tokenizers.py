"""The twin of the benchmark of BERT's word pieces: Hugging Face's `tokenizers` from Python, two threads.

    pip install tokenizers==0.23.3
    RAYON_NUM_THREADS=2 TOKENIZERS_PARALLELISM=true python crates/emberline-text/benches/word_pieces_tokenizers.py

prints one JSON line, named as in `word_pieces.rs`: the median and the minimum of the runs after a warm-up.
"""

import json
import statistics
import time
from itertools import cycle
from pathlib import Path

from tokenizers import BertWordPieceTokenizer

DATASETS = Path(__file__).parents[3] / "datasets"
BYTES, RUNS = 10_000_000, 5


def lines_of(book: str) -> list[str]:
    lines, n_bytes = [], 0
    for line in cycle([line for line in book.splitlines() if line.strip()]):
        n_bytes += len(line.encode())
        if n_bytes > BYTES:
            return lines
        lines.append(line)


def main() -> None:
    tokenizer = BertWordPieceTokenizer(str(DATASETS / "bert-vocab/vocab.txt"))
    lines = lines_of((DATASETS / "austen/pride_and_prejudice.txt").read_text(encoding="utf-8"))
    n_bytes = sum(len(line.encode()) for line in lines)
    n_pieces = sum(len(row.ids) for row in tokenizer.encode_batch(lines, add_special_tokens=False))
    milliseconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        tokenizer.encode_batch(lines, add_special_tokens=False)
        milliseconds.append((time.perf_counter() - start) * 1e3)
    median = statistics.median(milliseconds)
    result = {"name": "word pieces of 10 MB", "median_ms": median, "min_ms": min(milliseconds)}
    print(json.dumps(result | {"mb_per_s": n_bytes / median / 1e3, "pieces": n_pieces}))


main()
