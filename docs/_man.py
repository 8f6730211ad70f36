"""Writes man pages for all commands, from the same texts as `--help`: `python docs/_man.py FOLDER`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from defusion import __version__
from defusion.cli import app


def pages(command: Any, name: str = "defusion") -> Iterator[tuple[str, str]]:
    """Yields file name and text of the page for a command, and for each command inside it."""
    inner = getattr(command, "commands", {})
    yield f"{name.replace(' ', '-')}.1", _page(command, name, inner)
    for word, each in inner.items():
        yield from pages(each, f"{name} {word}")


def _page(command: Any, name: str, inner: dict[str, Any]) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    summary = _plain(command.help or "").strip().split("\n\n")
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH "{name.replace(" ", "-").upper()}" 1 "" "defusion {__version__}" "User commands"',
        f".SH NAME\n{_roff(name.replace(' ', '-'))} \\- {_roff(summary[0].rstrip('.'))}",
        f".SH SYNOPSIS\n.B {_roff(name)}\n{_roff(usage)}",
    ]
    if len(summary) > 1:
        lines.append(".SH DESCRIPTION\n" + "\n.PP\n".join(map(_roff, summary[1:])))
    for title, kind in (("ARGUMENTS", "argument"), ("OPTIONS", "option")):
        records = [_record(each, context) for each in command.get_params(context) if each.param_type_name == kind]
        if records:
            lines.append(f".SH {title}\n" + "\n".join(records))
    if inner:
        listed = (f".TP\n.B {_roff(f'{name} {word}')}\n{_roff(_first(each))}" for word, each in inner.items())
        lines.append(".SH COMMANDS\n" + "\n".join(listed))
    return "\n".join(lines) + "\n"


def _record(parameter: Any, context: Any) -> str:
    words, text = parameter.get_help_record(context)
    return f".TP\n.B {_roff(_plain(words))}\n{_roff(_plain(text))}"


def _first(command: Any) -> str:
    return _plain(command.help or "").strip().split("\n")[0]


def _plain(text: str) -> str:
    """Returns a help text without rich's markup."""
    return re.sub(r"\[/?(bold|dim|italic)\]", "", text)


def _roff(text: str) -> str:
    """Escapes what roff would obey."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


def main(folder: Path) -> None:
    """Writes all pages into a folder, created if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages(typer.main.get_command(app)):
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
