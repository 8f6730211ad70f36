"""The field's words in docs, docstrings, messages and help: private words for what has a name are refused."""

import re
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).parents[1]

#: What is not written, and what the field calls it.
WORDS = {
    r"\bparted by\b": "separated by",
    r"\bodds\b": "weight, or logit",
    r"\b(laid|lay|lays|laying) (\w+ ){0,5}upon\b": "align to",
    r"\bled back\b": "converted back",
    r"\bglances?\b": "statistics",
    r"\bthereof\b|\bwherein\b|\btherein\b|\bheretofore\b|\bforthwith\b": "plain words",
    r"\bit is to be noted\b|\bplease note\b|\bobviously\b|\bsimply\b|\bof course\b": "nothing",
    r"\butili[sz]e[sd]?\b": "use",
    r"\bin order to\b": "to",
    r"\bif need be\b": "if needed",
    r"\bfor want of\b": "because ... is missing",
    r"\b(go|goes|went) on (where|with|there|after)\b": "continue",
    r"\b(is|are) told (how|which|where|of)\b": "called with",
    r"\bthat of who\b|\bto who\b|\bfor who\b|\bof who\b|\bby who\b": "whoever, or a noun",
    r"\bbrought to\b": "converted to",
    r"\b(lies|lie|laid) upon\b": "align with",
    r"\bleave it away\b|\bleave one of them away\b": "remove",
    r"\bmake room\b": "free some space",
}

#: Rooms whose words are changed with their code: alignment's are being moved, the network's, too.
EXEMPT = ("src/defusion/alignment/", "src/defusion/model/", "src/defusion/tiles/", "src/defusion/training/")


def texts() -> Iterator[tuple[Path, int, str]]:
    """Every line of prose and code that a reader sees."""
    files = [*HOUSE.glob("*.md"), *HOUSE.glob("docs/**/*.md"), *HOUSE.glob("src/**/*.py"), *HOUSE.glob("src/**/*.md")]
    for file in files:
        if not str(file.relative_to(HOUSE)).startswith(EXEMPT):
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                yield file.relative_to(HOUSE), number, line


def test_the_field_s_words_are_used() -> None:
    found = [
        f"{file}:{number}: {match[0]!r}; write {better}"
        for file, number, line in texts()
        for word, better in WORDS.items()
        for match in [re.search(word, line, re.IGNORECASE)]
        if match
    ]
    assert not found, "\n".join(found)
