"""Checks the English of pages, docstrings, comments and messages: `python docs/_style.py`.

proselint finds clichés, redundancy and the like. `WORDS` is the project's own vocabulary: words that have a better
one. A sentence has at most `LONGEST` words.
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from proselint.checks import __register__
from proselint.registry import CheckRegistry
from proselint.tools import LintFile

HOUSE = Path(__file__).parents[1]

#: What is not written, and what to write.
WORDS = {
    r"\bparted by\b": "separated by",
    r"\bodds\b": "weight, or logit",
    r"\b(laid|lay|lays|laying) (\w+ ){0,5}upon\b|\b(lies|lie) upon\b": "align to",
    r"\bled back\b|\bbrought to\b": "converted to",
    r"\bglances?\b": "statistics",
    r"\bsteer(s|ed|ing)?\b": "tune, or choose by",
    r"\boracles?\b": "the toolkit's code",
    r"\bnot told\b(?! (which|what|how))": "does not need, or does not know",
    r"\bsurer\b": "more certain, or more confident",
    r"\b(thereof|wherein|therein|whereby|thereby|heretofore|forthwith|hence)\b": "plain words",
    r"\b(it is to be noted|please note|note that|obviously|simply|of course|basically|actually)\b": "nothing",
    r"\butili[sz]e[sd]?\b": "use",
    r"\bin order to\b": "to",
    r"\bif need be\b": "if needed",
    r"\bfor want of\b": "because ... is missing",
    r"\b(go|goes|went) on (where|with|there|after)\b": "continue",
    r"\b(is|are) told (how|which|where|of)\b": "called with",
    r"\b(that|to|for|of|by) who\b(?! )|\bthat of who\b": "whoever, or a noun",
    r"\bleave (it|one of them) away\b": "remove",
    r"\bmake room\b": "free some space",
    r"\bweighed (by|with)\b": "weighted by",
    r"\bwhat (it|they) (is|are) (of|for)\b": "a noun",
}

#: Most words in a sentence.
LONGEST = 40

#: What proselint does not check: typography, which terminals lack, and what takes the field's words (in focus,
#: congruency, `--resume`) for faults.
_OFF = (
    "typography",
    "spelling",
    "lexical_illusions",
    "needless_variants",
    "redundancy.misc",
    "misc.phrasal_adjectives.ly",
)

if not CheckRegistry().checks:
    CheckRegistry().register_many(__register__)

_TABLE = re.compile(r"\S {2,}\S|^ {4}", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def pages() -> Iterator[Path]:
    """Yields all files that hold prose."""
    yield from (*HOUSE.glob("*.md"), *HOUSE.glob("docs/**/*.md"), *HOUSE.glob("benchmarks/*.md"))
    yield from sorted((HOUSE / "src").glob("**/*.py"))


def texts_of(file: Path) -> list[tuple[int, str]]:
    """Returns the prose in a file, each text with its line."""
    text = file.read_text(encoding="utf-8")
    found = _texts_of_code(text) if file.suffix == ".py" else _texts_of_page(text)
    return [(line, re.sub(r"``[^`]*``|`[^`]*`", "it", each)) for line, each in found]


def _texts_of_page(text: str) -> list[tuple[int, str]]:
    plain = _CODE.sub(lambda found: "\n" * found[0].count("\n"), text)
    plain = re.sub(r"\]\([^)]*\)|<[^>\n]*>", "]", plain)
    line, found = 1, []
    for part in re.split(r"(\n\s*\n|\n(?=\s*[-|#*>]|\s*\d+\.))", plain):
        if part.strip() and not part.lstrip().startswith("|"):
            found.append((line, part.strip()))
        line += part.count("\n")
    return found


def _texts_of_code(text: str) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count(" ") >= 3:
            found += [(node.lineno, each) for each in re.split(r"\n\s*\n|\n(?=\s+\w+: )", node.value)]
    last = -1
    for token in tokenize.generate_tokens(iter(text.splitlines(keepends=True)).__next__):
        if token.type == tokenize.COMMENT:
            said = token.string.lstrip("#: ")
            if token.start[0] == last + 1 and token.line.lstrip().startswith("#"):
                found[-1] = (found[-1][0], f"{found[-1][1]} {said}")
            else:
                found.append((token.start[0], said))
            last = token.start[0]
    return [(line, each) for line, each in found if not each.lstrip().startswith((">>>", "noqa", "type:"))]


def faults_of(file: Path) -> Iterator[str]:
    """Yields what is wrong in a file, one line each."""
    texts = texts_of(file)
    for line, text in texts:
        for word, better in WORDS.items():
            if found := re.search(word, text, re.IGNORECASE):
                yield f"{line}: {found[0]!r}; write {better}"
        if _TABLE.search(text):
            continue
        for sentence in re.split(r"(?<=[.!?:;])\s", text):
            if (count := len(sentence.split())) > LONGEST:
                yield f"{line}: a sentence of {count} words; at most {LONGEST}: {sentence[:60]}..."
    starts = list(accumulate((len(text) + 2 for _, text in texts), initial=1))
    joined = "\n\n".join(text for _, text in texts)
    for found in LintFile(str(file), joined).lint():
        if found.check_result.check_path.startswith(_OFF):
            continue
        line = texts[bisect_right(starts, found.check_result.span[0]) - 1][0]
        yield f"{line}: {found.check_result.check_path} {found.check_result.message}"


def main() -> int:
    """Prints all faults; returns 1 if there are any."""
    faults = [f"{file.relative_to(HOUSE)}:{fault}" for file in pages() for fault in faults_of(file)]
    print("\n".join(faults), file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
