"""The command itself, its groups, and how it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any

import typer

from defusion.cli.output import Talk, fail
from defusion.errors import DefusionError

_QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but what is wrong.")]
_DebugOption = Annotated[bool, typer.Option("--debug", help="Keep the traceback of every failure.")]


class App(typer.Typer):
    """Commands that all have --quiet and --debug, as the command before them has."""

    def command(  # type: ignore[override]  # whose settings are typer's to list
        self, *settings: Any, **more: Any
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Adds a command."""
        register = super().command(*settings, **more)

        def decorated(function: Callable[..., None]) -> Callable[..., None]:
            @wraps(function)
            def called(*, quiet: bool, debug: bool, **given: Any) -> None:
                Talk.quiet, Talk.debug = Talk.quiet or quiet, Talk.debug or debug
                function(**given)

            own = list(signature(function, eval_str=True).parameters.values())
            shared = [
                Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=kind)
                for name, kind in (("quiet", _QuietOption), ("debug", _DebugOption))
            ]
            set_signature(called, [*own, *shared])
            register(called)
            return function

        return decorated


def set_signature(function: Callable[..., None], parameters: Sequence[Parameter]) -> None:
    """Gives a function the parameters that typer makes options of."""
    function.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {each.name: each.annotation for each in parameters}
    del function.__wrapped__  # type: ignore[attr-defined]  # whose parameters typer would ask for


app = App(
    name="defusion",
    help="One picture out of several of a scene.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
weights_app = App(help="Weights: what there is, what made it, and the authors' files.", no_args_is_help=True)
app.add_typer(weights_app, name="weights", rich_help_panel="Models")
explain_app = App(help="Figures of what the network sees: toy cases and embeddings.", no_args_is_help=True)
app.add_typer(explain_app, name="explain", rich_help_panel="Evaluation")


def _version(wanted: bool) -> None:
    if wanted:
        from defusion import __version__

        typer.echo(f"defusion {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
    quiet: _QuietOption = False,
    debug: _DebugOption = False,
) -> None:
    Talk.quiet, Talk.debug = quiet, debug


class _Interrupted(BaseException):
    """A signal that ends the run; whoever has begun a file takes it away."""


class _Interruption:
    """What signals do that end a run: a process that was forked off by a library leaves that to the first one."""

    def __init__(self) -> None:
        self.number = 0
        self._process = os.getpid()
        for number in (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")):
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
                signal.signal(number, self._came)

    def _came(self, number: int, frame: object) -> None:
        if os.getpid() == self._process:
            self.number = number
            raise _Interrupted
        if number == signal.SIGTERM:
            os._exit(128 + number)


def main() -> None:
    """Runs the command; ends with 2 and one sentence where the user can mend what is wrong."""
    interruption = _Interruption()
    try:
        app()
    except (_Interrupted, Exception) as error:
        if interruption.number:  # whatever it made of other processes
            fail("interrupted; no file was left half written", 128 + interruption.number)
        if Talk.debug:
            raise
        if isinstance(error, DefusionError):
            fail(str(error), 2)
        # For a thread's stack or a library there may be none either, which Python says in words of its own.
        none_left = any(words in str(error) for words in ("can't start new thread", "failed to map segment"))
        if isinstance(error, OSError) and not none_left:
            where = f"{error.filename}: " if error.filename else ""
            fail(f"{where}the system refuses this ({error.strerror or error}); make room, or choose another place", 2)
        if isinstance(error, MemoryError) or none_left:
            fail(f"there is too little memory ({error}); close other programs, or use a machine with more", 2)
        fail(f"unexpected {type(error).__name__}: {error}; run `defusion --debug ...` for the traceback", 1)
