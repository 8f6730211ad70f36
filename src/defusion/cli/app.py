"""The command, its groups, and how it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any

import typer

from defusion.cli.config import config_file, defaults_from, taken
from defusion.cli.output import Talk, fail, tell_config
from defusion.errors import DefusionError

_QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]
_DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


class App(typer.Typer):
    """Gives every command the options --quiet and --debug, so that they work after the command's name, too."""

    def command(  # type: ignore[override]  # typer defines these settings
        self, *settings: Any, **more: Any
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Adds a command."""
        register = super().command(*settings, **more)

        def decorated(function: Callable[..., None]) -> Callable[..., None]:
            @wraps(function)
            def called(*, context: typer.Context, quiet: bool, debug: bool, **given: Any) -> None:
                Talk.quiet, Talk.debug = Talk.quiet or quiet, Talk.debug or debug
                tell_config(taken(context))
                function(**given)

            own = list(signature(function, eval_str=True).parameters.values())
            shared = [
                Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=kind)
                for name, kind in (("quiet", _QuietOption), ("debug", _DebugOption))
            ]
            context = Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context)
            set_signature(called, [*own, context, *shared])
            register(called)
            return function

        return decorated


def set_signature(function: Callable[..., None], parameters: Sequence[Parameter]) -> None:
    """Gives a function the parameters from which typer makes options."""
    function.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {each.name: each.annotation for each in parameters}
    del function.__wrapped__  # type: ignore[attr-defined]  # typer would take its parameters


app = App(
    name="defusion",
    help="Fuse several pictures of one scene into one.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
weights_app = App(
    help="Weights: list them, show how they were made, convert the authors' files.", no_args_is_help=True
)
app.add_typer(weights_app, name="weights", rich_help_panel="Models")
explain_app = App(help="Figures of what the network sees: toy examples and embeddings.", no_args_is_help=True)
app.add_typer(explain_app, name="explain", rich_help_panel="Evaluation")


def _version(wanted: bool) -> None:
    if wanted:
        from defusion import __version__

        typer.echo(f"defusion {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
    quiet: _QuietOption = False,
    debug: _DebugOption = False,
) -> None:
    Talk.quiet, Talk.debug = quiet, debug
    Talk.config = config_file()
    if Talk.config is not None:
        context.default_map = defaults_from(Talk.config, context.command)


class _Interrupted(BaseException):
    """A signal ended the run. Unfinished files are removed while this exception passes."""


class _Interruption:
    """Turns the signals that end a run into an exception. Processes that a library forked ignore them."""

    def __init__(self) -> None:
        self.number = 0
        self._process = os.getpid()
        for number in (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")):
            # nohup ignores SIGHUP, and it stays so
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._came)

    def _came(self, number: int, frame: object) -> None:
        if os.getpid() == self._process:
            self.number = number
            raise _Interrupted
        if number == signal.SIGTERM:
            os._exit(128 + number)


def main() -> None:
    """Runs the command. An error that the user can fix ends it with exit code 2 and one sentence."""
    interruption = _Interruption()
    if "_DEFUSION_COMPLETE" in os.environ:
        # Otherwise typer breaks help texts into lines, and fish takes each line for a candidate.
        os.environ["COLUMNS"] = "1000"
    try:
        app()
    except (_Interrupted, Exception) as error:
        if interruption.number:  # even if the interruption has led to another error
            fail("interrupted; no file was left half written", 128 + interruption.number)
        if Talk.debug:
            raise
        if isinstance(error, DefusionError):
            fail(str(error), 2)
        # Python reports some shortages of memory in other words, for the stack of a thread or for a library.
        none_left = any(words in str(error) for words in ("can't start new thread", "failed to map segment"))
        if isinstance(error, OSError) and not none_left:
            where = f"{error.filename}: " if error.filename else ""
            fail(
                f"{where}the system refuses this ({error.strerror or error}); free some space, or choose "
                "another place",
                2,
            )
        if isinstance(error, MemoryError) or none_left:
            fail(f"there is too little memory ({error}); close other programs, or use a machine with more", 2)
        fail(f"unexpected {type(error).__name__}: {error}; run `defusion --debug ...` for the traceback", 1)
