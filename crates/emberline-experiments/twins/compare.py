r"""Compares a run of `char-lstm` with its PyTorch twin: see char_lstm.py for the commands that make both.

    python crates/emberline-experiments/twins/compare.py RUN TWIN

RUN is the directory of our run, which logged every update; TWIN the file with what the twin printed. Prints a
JSON line with the largest difference of the losses of the first updates, and our final validation loss less the
twin's.
"""

import argparse
import json
from pathlib import Path

N_UPDATES = 50


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def losses(records: list[dict]) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in records if "loss" in record}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("twin", type=Path)
    arguments = parser.parse_args()

    ours, theirs = losses(lines(arguments.run / "metrics.jsonl")), losses(lines(arguments.twin))
    result = json.loads((arguments.run / "result.json").read_text())
    last = lines(arguments.twin)[-1]
    if "validation_loss" not in last:
        raise SystemExit(f"{arguments.twin} does not end with a validation loss: the twin has not finished")
    validation_loss = last["validation_loss"]
    comparison = {
        "first_updates": N_UPDATES,
        "largest_loss_difference": max(abs(ours[step] - theirs[step]) for step in range(1, N_UPDATES + 1)),
        "final_validation_loss": result["final_validation_loss"],
        "twin_final_validation_loss": validation_loss,
        "final_validation_loss_difference": result["final_validation_loss"] - validation_loss,
    }
    print(json.dumps(comparison))


if __name__ == "__main__":
    main()
