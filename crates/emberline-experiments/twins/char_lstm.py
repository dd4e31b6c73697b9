r"""The PyTorch twin of the experiment `char-lstm`: the same weights, batches and updates in torch.nn.

    pip install torch==2.15.0 numpy safetensors
    python crates/emberline-experiments/twins/char_lstm.py WEIGHTS CONFIG TEXT [--steps N]
    python crates/emberline-experiments/twins/char_lstm.py WEIGHTS CONFIG TEXT --time

CONFIG is the config.toml of our run, TEXT the text it trained on, WEIGHTS the initial weights of its seed.
The first update of a warm-up has the learning rate 0, so the checkpoint after it holds them. On Tiny
Shakespeare, for each seed, here 1:

    TEXT=$(cargo xtask data tinyshakespeare)
    cargo xtask run char-lstm --seed 1 --out runs/initial-1 --set data.text=tinyshakespeare \
        --set training.steps=2 --set training.checkpoint_every=1 --set training.schedule.warmup_steps=1
    cargo xtask run char-lstm --seed 1 --out runs/ours-1 --set data.text=tinyshakespeare \
        --set training.log_every=1
    python crates/emberline-experiments/twins/char_lstm.py \
        runs/initial-1/checkpoints/step-00000001/model.safetensors runs/ours-1/config.toml "$TEXT" \
        > runs/twin-1.jsonl
    python crates/emberline-experiments/twins/compare.py runs/ours-1 runs/twin-1.jsonl

Prints a JSON line {"step", "loss"} an update, in full precision, with the loss before the update, as
metrics.jsonl has it, then {"validation_loss"}; `--steps` ends earlier without changing the schedule. With
`--time` it prints instead the median and the minimum time of an update, and the peak of resident memory
less the resident memory before the model (Linux only).
"""

import argparse
import itertools
import json
import math
import re
import statistics
import time
import tomllib
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

N_THREADS = 2
N_WARM_UP, N_TIMED = 20, 200


class CharLstm(torch.nn.Module):
    def __init__(self, weights: dict[str, torch.Tensor]):
        super().__init__()
        vocab_size, d_embedding = weights["embedding.weight"].shape
        d_hidden = weights["head.weight"].shape[1]
        n_layers = sum(name.startswith("lstm.weight_ih_l") for name in weights)
        self.embedding = torch.nn.Embedding(vocab_size, d_embedding)
        self.lstm = torch.nn.LSTM(d_embedding, d_hidden, n_layers, batch_first=True)
        self.head = torch.nn.Linear(d_hidden, vocab_size)
        self.load_state_dict(weights)

    def forward(self, tokens, state):
        hidden, state = self.lstm(self.embedding(tokens), state)
        return self.head(hidden), state


class Rows:
    """A text as `batch_size` contiguous rows, and their windows; see emberline-text's `Windows`."""

    def __init__(self, tokens: torch.Tensor, batch_size: int):
        self.length = (len(tokens) - 1) // batch_size
        n_used = batch_size * self.length
        self.inputs = tokens[:n_used].view(batch_size, self.length)
        self.targets = tokens[1 : n_used + 1].view(batch_size, self.length)

    def window(self, start: int, seq_length: int) -> tuple[torch.Tensor, torch.Tensor]:
        end = start + seq_length
        return self.inputs[:, start:end], self.targets[:, start:end]

    def full_windows(self, seq_length: int):
        starts = range(0, self.length - seq_length + 1, seq_length)
        return (self.window(start, seq_length) for start in starts)

    def covering_windows(self, seq_length: int):
        """All of the rows: the last window is as short as what remains."""
        return (self.window(start, seq_length) for start in range(0, self.length, seq_length))


def splits(text: str, fractions: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens of the training and of the validation text; a character's id is its place by code point."""
    ids = {character: place for place, character in enumerate(sorted(set(text)))}
    tokens = torch.tensor([ids[character] for character in text])
    train_end = int(len(text) * fractions["train"])
    validation_end = int(len(text) * (fractions["train"] + fractions["validation"]))
    return tokens[:train_end], tokens[train_end:validation_end]


def learning_rate(schedule: dict, step: int, steps: int) -> float:
    """As emberline-training's `Schedule::learning_rate`."""
    peak, warmup_steps = schedule["learning_rate"], schedule.get("warmup_steps", 0)
    if step < warmup_steps:
        return peak * step / warmup_steps
    end = schedule.get("final_learning_rate", 0.0)
    done = min((step - warmup_steps) / max(steps - warmup_steps, 1), 1.0)
    match schedule["name"]:
        case "constant":
            return peak
        case "linear":
            return end + (peak - end) * (1.0 - done)
        case "cosine":
            return end + (peak - end) * 0.5 * (1.0 + math.cos(math.pi * done))
        case name:
            raise ValueError(f"no schedule is called {name}")


def make_optimizer(model: torch.nn.Module, config: dict) -> torch.optim.Optimizer:
    """Adam, or AdamW without decay of the biases; the learning rate is set at every update."""
    betas = config.get("beta_1", 0.9), config.get("beta_2", 0.999)
    epsilon = config.get("epsilon", 1e-8)
    match config["name"]:
        case "adam":
            return torch.optim.Adam(model.parameters(), betas=betas, eps=epsilon)
        case "adamw":
            matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
            biases = [parameter for parameter in model.parameters() if parameter.dim() < 2]
            decay = config.get("weight_decay", 1e-2)
            groups = [{"params": matrices, "weight_decay": decay}, {"params": biases, "weight_decay": 0.0}]
            return torch.optim.AdamW(groups, betas=betas, eps=epsilon)
        case name:
            raise ValueError(f"no optimizer is called {name}")


def losses(model: CharLstm, rows: Rows, seq_length: int, config: dict):
    """Trains, and yields each update's loss, without end."""
    optimizer = make_optimizer(model, config["optimizer"])
    step = 0
    while True:
        state = None
        for inputs, targets in rows.full_windows(seq_length):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config["schedule"], step, config["steps"])
            logits, state = model(inputs, state)
            state = tuple(tensor.detach() for tensor in state)
            loss = cross_entropy(logits.flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            if "max_grad_norm" in config:
                torch.nn.utils.clip_grad_norm_(model.parameters(), config["max_grad_norm"])
            optimizer.step()
            step += 1
            yield loss.item()


@torch.no_grad()
def validation_loss(model: CharLstm, rows: Rows, seq_length: int) -> float:
    state, total, count = None, 0.0, 0
    for inputs, targets in rows.covering_windows(seq_length):
        logits, state = model(inputs, state)
        total += cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
        count += targets.numel()
    return total / count


def resident_kib(field: str) -> int:
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def warm_up_libraries() -> None:
    """A tiny update, so that the pages of PyTorch's code and its thread pool are not counted."""
    tiny = torch.nn.LSTM(8, 8)
    tiny(torch.randn(2, 1, 8))[0].sum().backward()
    torch.optim.Adam(tiny.parameters()).step()


def measure(make_losses) -> dict:
    warm_up_libraries()
    # Resets VmHWM, which otherwise remembers the import of torch.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_kib("VmRSS")
    losses = make_losses()
    for _ in range(N_WARM_UP):
        next(losses)
    milliseconds = []
    for _ in range(N_TIMED):
        start = time.perf_counter()
        next(losses)
        milliseconds.append((time.perf_counter() - start) * 1e3)
    return {
        "name": "char-lstm training step",
        "median_ms": statistics.median(milliseconds),
        "min_ms": min(milliseconds),
        "peak_mib": (resident_kib("VmHWM") - before) / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--time", action="store_true")
    arguments = parser.parse_args()

    torch.set_num_threads(N_THREADS)
    config = tomllib.loads(arguments.config.read_text())
    if config["model"]["dropout"] > 0.0:
        raise ValueError("the twin has no dropout: its random numbers would not be ours")
    batch_size, seq_length = config["data"]["batch_size"], config["data"]["seq_length"]
    # Not `read_text`, which would change the ends of lines.
    train, validation = splits(arguments.text.read_bytes().decode(), config["data"]["split"])
    rows = Rows(train, batch_size)

    if arguments.time:

        def make_losses():
            return losses(CharLstm(load_file(arguments.weights)), rows, seq_length, config["training"])

        print(json.dumps(measure(make_losses)))
        return

    model = CharLstm(load_file(arguments.weights))
    n_steps = arguments.steps or config["training"]["steps"]
    training = losses(model, rows, seq_length, config["training"])
    for step, loss in enumerate(itertools.islice(training, n_steps), start=1):
        print(json.dumps({"step": step, "loss": loss}), flush=True)
    print(json.dumps({"validation_loss": validation_loss(model, Rows(validation, batch_size), seq_length)}))


if __name__ == "__main__":
    main()
