"""The PyTorch twin of the benchmark of the Transformer: f32, two threads, no dropout.

    pip install torch==2.15.0 numpy
    python crates/emberline-models/benches/transformer_torch.py

prints one JSON line a measurement, named as in `transformer.rs`: the median and the minimum of the runs after a warm-up.
"""

import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional

torch.set_num_threads(2)


def report(name: str, runs: int, run) -> None:
    for _ in range(runs // 5):
        run()
    milliseconds = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        milliseconds.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"name": name, "median_ms": statistics.median(milliseconds), "min_ms": min(milliseconds)}))


def layers(n: int, d_model: int, n_heads: int, d_ff: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(d_model, n_heads, d_ff, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, n, enable_nested_tensor=False)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(512, 128)
        self.layers = layers(4, 128, 4, 512)
        self.mask = nn.Transformer.generate_square_subsequent_mask(128)

    def loss(self, tokens, targets):
        hidden = self.layers(self.embedding(tokens), mask=self.mask, is_causal=True)
        return functional.cross_entropy(hidden.flatten(0, 1) @ self.embedding.weight.T, targets)


def main() -> None:
    torch.manual_seed(0)
    embedding, encoder = nn.Embedding(1000, 512), layers(6, 512, 8, 2048).eval()
    source = torch.randint(1000, (8, 128))

    def encode() -> None:
        with torch.inference_mode():
            encoder(embedding(source) * 512**0.5)

    report("encoder base forward 8x128", 20, encode)

    decoder = Decoder()
    optimizer = torch.optim.AdamW(decoder.parameters(), 1e-4)
    tokens, targets = torch.randint(512, (4, 128)), torch.randint(512, (512,))

    def step() -> None:
        optimizer.zero_grad()
        decoder.loss(tokens, targets).backward()
        optimizer.step()

    report("decoder training step 4x128", 100, step)


main()
