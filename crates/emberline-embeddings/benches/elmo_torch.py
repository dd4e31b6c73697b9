"""The PyTorch twin of the benchmark of ELMo: f32, two threads, no dropout.

    pip install torch==2.15.0 numpy
    python crates/emberline-embeddings/benches/elmo_torch.py

prints one JSON line, the median and the minimum of the runs after a warm-up. It reads the 50 characters of every word of
the batch, as the published code does, so that one measurement stands against all of `elmo.rs`. Its LSTM layers are those of
torch, which project and do not clip: clipping would take a loop in Python.
"""

import json
import statistics
import time

import torch
from torch import nn

FILTERS = [(1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024)]
D_HIDDEN, D_OUTPUT = 2048, 256

torch.set_num_threads(2)


class Elmo(nn.Module):
    def __init__(self):
        super().__init__()
        n_filters = sum(count for _, count in FILTERS)
        self.characters = nn.Embedding(261, 16)
        self.filters = nn.ModuleList(nn.Conv1d(16, count, width) for width, count in FILTERS)
        self.highway = nn.Linear(n_filters, 2 * n_filters)
        self.projection = nn.Linear(n_filters, D_OUTPUT)
        layer = lambda: nn.LSTM(D_OUTPUT, D_HIDDEN, proj_size=D_OUTPUT, batch_first=True)
        self.forward_layers = nn.ModuleList(layer() for _ in range(2))
        self.reverse_layers = nn.ModuleList(layer() for _ in range(2))

    def forward(self, characters):
        batch_size, seq_length, word_length = characters.shape
        embedded = self.characters(characters.reshape(-1, word_length)).transpose(1, 2)
        hidden = torch.cat([f(embedded).max(2).values for f in self.filters], 1).relu()
        gate, new = self.highway(hidden).chunk(2, 1)
        gate = gate.sigmoid()
        hidden = gate * new.relu() + (1 - gate) * hidden
        words = self.projection(hidden).reshape(batch_size, seq_length, D_OUTPUT)
        layers = [torch.cat([words, words], 2)]
        forward, reverse = words, words.flip(1)
        for index, (a, b) in enumerate(zip(self.forward_layers, self.reverse_layers)):
            skip = 1 if index > 0 else 0
            forward = a(forward)[0] + skip * forward
            reverse = b(reverse)[0] + skip * reverse
            layers.append(torch.cat([forward, reverse.flip(1)], 2))
        return layers


def main() -> None:
    torch.manual_seed(0)
    elmo = Elmo().eval()
    characters = torch.randint(261, (8, 32, 50))

    def run() -> None:
        with torch.inference_mode():
            elmo(characters)

    runs = 20
    for _ in range(runs // 5):
        run()
    milliseconds = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        milliseconds.append((time.perf_counter() - start) * 1e3)
    name = "elmo medium forward 8x32"
    print(json.dumps({"name": name, "median_ms": statistics.median(milliseconds), "min_ms": min(milliseconds)}))


main()
