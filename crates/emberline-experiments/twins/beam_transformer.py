r"""The PyTorch twin of `predict translation` with a Transformer: the same weights, the same search, in batches and with caches.

    pip install torch==2.15.0 numpy safetensors tokenizers
    python crates/emberline-experiments/twins/beam_transformer.py DIRECTORY SOURCES [TRANSLATIONS]

DIRECTORY is a directory of the model (`RUN/averaged` or a checkpoint), SOURCES a text with a sentence a line. Prints a
JSON line {"sentences", "seconds", "sentences_per_second"}, of the best of three searches without reading the files, and
writes the translations if asked.

As in ours the sentences are sorted by length and searched 32 at a time, four beams each; a source is encoded once for all of
its beams, keys and values are kept, the beams of a sentence attend to its source together, sentences that are done leave
the batch. A sentence is done when no beam can become better than what is complete.
"""

import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional

N_THREADS = 2
N_BEAMS, BATCH_SIZE, LENGTH_PENALTY, MORE_THAN_SOURCE = 4, 32, 0.6, 50
START, END = 0, 1


class Transformer:
    def __init__(self, directory: Path):
        self.config = json.loads((directory / "config.json").read_text())
        self.weights = load_file(directory / "model.safetensors")
        d_model = self.config["d_model"]
        frequencies = 10000 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
        angles = torch.arange(1000, dtype=torch.float64)[:, None] * frequencies
        self.positions = torch.stack([angles.sin(), angles.cos()], 2).reshape(1000, d_model).float()

    def linear(self, name, x):
        return functional.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def norm(self, name, x):
        return functional.layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def heads(self, name, x):
        return self.linear(name, x).unflatten(2, (self.config["n_heads"], -1)).transpose(1, 2)

    def attend(self, name, query, key, value, mask=None):
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.linear(f"{name}.out_proj", found.transpose(1, 2).flatten(2))

    def feed(self, layer, x):
        return self.linear(f"{layer}.linear2", functional.relu(self.linear(f"{layer}.linear1", x)))

    def embed(self, name, tokens, start):
        vectors = functional.embedding(tokens, self.weights[f"{name}.weight"]) * self.config["d_model"] ** 0.5
        return vectors + self.positions[start : start + tokens.shape[1]]

    def encode(self, tokens, mask):
        """The keys and values of the source for each layer of the decoder."""
        hidden = self.embed("source_embedding", tokens, 0)
        for index in range(self.config["n_encoder_layers"]):
            layer = f"encoder.layers.{index}"
            attention = f"{layer}.self_attn"
            query, key, value = (self.heads(f"{attention}.{part}_proj", hidden) for part in "qkv")
            hidden = self.norm(f"{layer}.norm1", hidden + self.attend(attention, query, key, value, mask))
            hidden = self.norm(f"{layer}.norm2", hidden + self.feed(layer, hidden))
        layers = [f"decoder.layers.{index}.multihead_attn" for index in range(self.config["n_decoder_layers"])]
        return [[self.heads(f"{layer}.{part}_proj", hidden) for part in "kv"] for layer in layers]

    def decode(self, tokens, position, past, source, mask):
        """Log-probabilities of what follows one more token of each row, and its keys and values."""
        hidden, kept = self.embed("embedding", tokens[:, None], position), []
        for index, (key_of_source, value_of_source) in enumerate(source):
            layer = f"decoder.layers.{index}"
            attention = f"{layer}.self_attn"
            query, key, value = (self.heads(f"{attention}.{part}_proj", hidden) for part in "qkv")
            if past:
                key, value = (torch.cat(both, 2) for both in zip(past[index], (key, value)))
            kept.append((key, value))
            hidden = self.norm(f"{layer}.norm1", hidden + self.attend(attention, query, key, value))
            # The beams of a sentence are so many queries of one source.
            together = hidden.reshape(len(key_of_source), -1, hidden.shape[2])
            attention = f"{layer}.multihead_attn"
            query = self.heads(f"{attention}.q_proj", together)
            attended = self.attend(attention, query, key_of_source, value_of_source, mask)
            hidden = self.norm(f"{layer}.norm2", hidden + attended.reshape(hidden.shape))
            hidden = self.norm(f"{layer}.norm3", hidden + self.feed(layer, hidden))
        scores = functional.linear(hidden[:, 0], self.weights["embedding.weight"])
        return functional.log_softmax(scores, 1), kept


def penalty(length):
    return ((5 + length) / 6) ** LENGTH_PENALTY


def search(model: Transformer, sources: list[list[int]]) -> list[list[int]]:
    """The best translation found of each source of a batch."""
    lengths = torch.tensor([len(source) for source in sources])
    tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(source) for source in sources], batch_first=True)
    mask = (torch.arange(tokens.shape[1]) < lengths[:, None])[:, None, None, :]
    source, past = model.encode(tokens, mask), []
    limits = lengths + MORE_THAN_SOURCE
    rows = torch.arange(len(sources))  # The sentences that go on.
    best = [(-float("inf"), [])] * len(sources)
    written = torch.full((len(sources), 1, 1), START)  # [sentences, beams, length]
    totals = torch.zeros(len(sources), 1)
    while len(rows) > 0:
        n_beams, length = written.shape[1], written.shape[2]
        scores, past = model.decode(written[:, :, -1].flatten(), length - 1, past, source, mask)
        scores = totals[:, :, None] + scores.unflatten(0, (-1, n_beams))
        found, places = scores.flatten(1).topk(2 * N_BEAMS)
        beams, words = places // scores.shape[2], places % scores.shape[2]
        at_limit = (length == limits)[:, None]
        is_complete = ((words == END) | at_limit) & (torch.arange(2 * N_BEAMS) < N_BEAMS)
        for sentence, rank in is_complete.nonzero().tolist():
            score = found[sentence, rank].item() / penalty(length)
            row = rows[sentence].item()
            if score > best[row][0]:
                new = written[sentence, beams[sentence, rank], 1:].tolist()
                word = words[sentence, rank].item()
                best[row] = (score, new if word == END else [*new, word])
        # The best that do not stop, in the order of their ranks.
        going_on = (words == END).to(torch.int8).sort(dim=1, stable=True).indices[:, :N_BEAMS]
        totals, beams, words = (of.gather(1, going_on) for of in (found, beams, words))
        possible = torch.maximum(totals[:, 0] / penalty(length + 1), totals[:, 0] / penalty(limits))
        reached = torch.tensor([best[row][0] for row in rows.tolist()])
        active = ((possible > reached) & ~at_limit[:, 0]).nonzero()[:, 0]
        written = torch.cat([written[active[:, None], beams[active]], words[active, :, None]], 2)
        parents = (active[:, None] * n_beams + beams[active]).flatten()
        past = [[part.index_select(0, parents) for part in layer] for layer in past]
        totals = totals[active]
        if len(active) < len(rows):
            rows, limits, mask = rows[active], limits[active], mask[active]
            source = [[part.index_select(0, active) for part in layer] for layer in source]
    return [tokens for _, tokens in best]


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(N_THREADS)
    directory, sources = Path(sys.argv[1]), Path(sys.argv[2]).read_text().splitlines()
    tokenizers = [Tokenizer.from_file(str(directory / f"{side}_tokenizer.json")) for side in ("source", "target")]
    encoded = [[*encoding.ids, END] for encoding in tokenizers[0].encode_batch(sources)]
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    model = Transformer(directory)
    seconds, found = [], {}
    for _ in range(3):
        start = time.perf_counter()
        for first in range(0, len(order), BATCH_SIZE):
            batch = order[first : first + BATCH_SIZE]
            found.update(zip(batch, search(model, [encoded[index] for index in batch])))
        seconds.append(time.perf_counter() - start)
    speed = {"sentences": len(order), "seconds": min(seconds), "sentences_per_second": len(order) / min(seconds)}
    print(json.dumps(speed))
    if len(sys.argv) > 3:
        texts = [" ".join(tokenizers[1].id_to_token(id) for id in found[index]) for index in range(len(order))]
        Path(sys.argv[3]).write_text("\n".join(texts) + "\n")


if __name__ == "__main__":
    main()
