"""Makes train.tsv, dev.tsv and test.tsv out of ../austen/pride_and_prejudice.txt: python3 make.py

The words of the novel in lower case, one a line with the label of what stood behind it, and an empty line after each sequence. A sequence
is a paragraph, or a piece of at most 60 words of a longer one. A part is whole chapters, from all over the novel.
"""

import re
from pathlib import Path

HERE = Path(__file__).parent
NOVEL = HERE.parent / "austen" / "pride_and_prejudice.txt"

# The chapters of each part; the other even ones are not used.
PARTS = {"train": range(1, 62, 2), "dev": range(6, 62, 20), "test": range(16, 62, 20)}
LONGEST_SEQUENCE = 60

WORD = re.compile(r"[A-Za-z0-9]+(?:['-][A-Za-z0-9]+)*")
# The first of these behind a word gives its label. Four dashes are a name left out, not a mark.
MARK = re.compile(r"[,.;:!?]|(?<!-)--(?!-)")
LABELS = {",": "COMMA", ":": "COMMA", "--": "COMMA", ".": "PERIOD", ";": "PERIOD", "!": "PERIOD", "?": "QUESTION"}
# A period behind these, or behind an initial, abbreviates and ends nothing.
ABBREVIATIONS = {"mr", "mrs", "st", "esq", "sept"}


def chapters(novel):
    """The texts between the lines `Chapter N`."""
    return re.split(r"^Chapter \d+$", novel, flags=re.MULTILINE)[1:]


def paragraphs(chapter):
    """The texts between empty lines."""
    return re.split(r"\n\s*\n", chapter)


def is_abbreviated(word):
    return word.lower() in ABBREVIATIONS or (len(word) == 1 and word.isupper() and word != "I")


def labelled(paragraph):
    """The words of a paragraph in lower case, each with its label."""
    words = list(WORD.finditer(paragraph))
    ends = [word.start() for word in words[1:]] + [len(paragraph)]
    for word, end in zip(words, ends):
        behind = paragraph[word.end() : end]
        if is_abbreviated(word.group()):
            behind = behind.removeprefix(".")
        mark = MARK.search(behind)
        yield word.group().lower(), LABELS[mark.group()] if mark else "O"


def sequences(chapter):
    """The paragraphs of a chapter that have words, in pieces of at most LONGEST_SEQUENCE words."""
    for paragraph in paragraphs(chapter):
        words = list(labelled(paragraph))
        for start in range(0, len(words), LONGEST_SEQUENCE):
            yield words[start : start + LONGEST_SEQUENCE]


def main():
    texts = chapters(NOVEL.read_text(encoding="ascii"))
    for part, numbers in PARTS.items():
        lines = []
        for number in numbers:
            for sequence in sequences(texts[number - 1]):
                lines += [f"{word}\t{label}\n" for word, label in sequence] + ["\n"]
        (HERE / f"{part}.tsv").write_text("".join(lines), encoding="ascii", newline="\n")


if __name__ == "__main__":
    main()
