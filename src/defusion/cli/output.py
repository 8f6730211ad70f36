"""What commands print: results on stdout; notes and errors on stderr."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import typer

from defusion.errors import DefusionError

#: Unicode categories that a terminal may obey: control, format, surrogate and separating characters.
_OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}


class Talk:
    """How much is printed besides results."""

    quiet = False
    """Print errors and the results that were asked for, nothing else."""
    debug = False
    """Show the traceback of an error."""
    config: Path | None = None
    """The file that options are read from."""
    from_config: ClassVar[Mapping[str, Any]] = {}
    """The options of the running command that were taken from it."""


def bar_wanted(as_json: bool) -> bool:
    """Says whether a progress bar may be shown."""
    return not (as_json or Talk.quiet)


def tell_config(options: Mapping[str, Any]) -> None:
    """Says which options of the running command were taken from the configuration file."""
    Talk.from_config = options
    if options:
        say(f"note: {Talk.config} sets {', '.join(f'--{name} {value}' for name, value in options.items())}")


def show_done(facts: dict[str, Any], as_json: bool, line: str) -> None:
    """Prints the facts as JSON, or else a line that says what was made, unless --quiet is given."""
    show_result(facts, as_json, *([] if Talk.quiet else [line]))


def show_result(facts: dict[str, Any], as_json: bool, *lines: str) -> None:
    """Prints the facts as JSON, or else the lines, each of which stays one line."""
    if Talk.from_config:
        facts = facts | {"config": {"file": str(Talk.config), "options": dict(Talk.from_config)}}
    for line in [json.dumps(facts, indent=2)] if as_json else map(printable, lines):
        print_line(line)


def print_line(line: str) -> None:
    """Prints a line to stdout at once."""
    with leaving_quietly():
        typer.echo(line)
        sys.stdout.flush()


@contextmanager
def leaving_quietly() -> Iterator[None]:
    """Ignores that the reader of stdout has gone; the files are complete by then.

    Raises:
        DefusionError: The disk behind stdout is full.
    """
    try:
        yield
    except OSError as error:
        _let_stdout_go()
        if not isinstance(error, BrokenPipeError):
            reason = error.strerror or error
            raise DefusionError(f"the output could not be printed ({reason}); free some space") from error


def counted(count: int, what: str) -> str:
    """Returns a number with its noun: "1 picture", "2 pictures"."""
    return f"{count} {what}{'s' * (count != 1)}"


def told(notes: Iterable[str]) -> list[str]:
    """Prints notes to stderr and returns them."""
    kept = list(notes)
    for note in kept:
        say(f"note: {note}")
    return kept


def say(line: str) -> None:
    """Prints a line to stderr, unless --quiet is given or stderr is closed."""
    if not Talk.quiet:
        _print_error(line)


def _print_error(line: str) -> None:
    with suppress(OSError):
        typer.echo(printable(line), err=True)


def fail(message: str, code: int) -> None:
    """Ends the process with one sentence on stderr and an exit code."""
    try:
        sys.stdout.flush()
    except (AttributeError, OSError):  # AttributeError if there is no stdout
        _let_stdout_go()
    _print_error(f"defusion: {message}")
    raise SystemExit(code)


def _let_stdout_go() -> None:
    """Drops what could not be printed. Otherwise Python would try again when it exits, and fail."""
    with suppress(AttributeError, OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def printable(line: str) -> str:
    r"""Escapes characters that a terminal would obey, as `\x1b` and the like. File names may hold them.

    These are control characters, line breaks of any kind, marks that change the direction of text, and bytes that are
    not text.
    """
    return "".join(
        each.encode("unicode_escape").decode() if unicodedata.category(each) in _OBEYED and each != "\t" else each
        for each in line
    )


def need(*modules: str, extra: str) -> None:
    """Raises `DefusionError` with the install command if a module of an extra cannot be imported."""
    from importlib import import_module
    from importlib.util import find_spec

    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise DefusionError(f'this needs {", ".join(missing)}: pip install "defusion[{extra}]"')
    for module in modules:
        try:
            import_module(module)
        except (ImportError, OSError) as error:
            raise DefusionError(f"{module} is installed, but cannot be loaded ({error}); reinstall it") from error
