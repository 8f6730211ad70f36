"""What commands print: results on stdout, notes on stderr, one sentence where something is wrong."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

import typer

from defusion.errors import DefusionError


def show_result(facts: dict[str, Any], as_json: bool, *lines: str) -> None:
    """Prints the facts as JSON, or else the lines."""
    for line in [json.dumps(facts, indent=2)] if as_json else lines:
        print_line(line)


def print_line(line: str) -> None:
    """Prints a line to stdout, at once."""
    try:
        typer.echo(line)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read this has left; what was made is there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def told(notes: Iterable[str]) -> list[str]:
    """Says notes on stderr and returns them."""
    kept = list(notes)
    for note in kept:
        say(f"note: {note}")
    return kept


def say(line: str) -> None:
    """Prints a line to stderr."""
    typer.echo(line, err=True)


def fail(message: str, code: int) -> None:
    """Ends the process with one sentence on stderr and an exit code."""
    typer.echo(f"defusion: {message}", err=True)
    raise SystemExit(code)


def need(*modules: str, extra: str) -> None:
    """Checks that the modules of an extra can be imported; raises `DefusionError` with the install command if not."""
    from importlib import import_module
    from importlib.util import find_spec

    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise DefusionError(f'this needs {", ".join(missing)}: pip install "defusion[{extra}]"')
    for module in modules:
        try:
            import_module(module)
        except (ImportError, OSError) as error:
            raise DefusionError(f"{module} is installed, but cannot be loaded ({error}); install it anew") from error
