"""The command line as a whole: one name for one thing, what all commands have, and completion."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import typer
from typer.models import ArgumentInfo, OptionInfo
from typer.testing import CliRunner

from defusion.api.options import says, values
from defusion.cli import app

from .running import run

#: Command and option that also takes what does the work.
ENGINES_OF_WORK = ("batch", "--engine")

#: Options that mean something else in another command, for a reason.
OWN = {
    "--align": "of `align` and of rigs, too, it is how freely frames move",
    "--weights": "what training begins from, and the paper's network where embeddings are shown",
    "--precision": "of figures, float32, so that numbers are the same everywhere",
    "--range": "of a clip it belongs to the thermal one alone",
    "--black-hot": "the same",
    "--output": "file, folder or URL",
    "--protocol": "says what it means for a set, or for one picture",
    "--metrics": "all, or those of the protocol",
    "--workers": "of a service, a batch or training",
    "--format": "of pictures, or of a network",
    "--json": "a batch prints a line a scene",
}


def commands(group: typer.Typer = app, before: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every command by its full name."""
    for each in group.registered_commands:
        assert each.callback is not None
        yield before + (each.name or each.callback.__name__), each.callback
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from commands(inner.typer_instance, f"{inner.name} ")


def options() -> Iterator[tuple[str, str, Any, str]]:
    """Every option: the command, its long name, the type of its values, its help."""
    for name, command in commands():
        for parameter in signature(command).parameters.values():
            if parameter.annotation is typer.Context:
                continue
            kind, info = get_args(parameter.annotation)
            if isinstance(info, OptionInfo):
                (option,) = [each for each in info.param_decls or () if each.startswith("--")] or [info.default]
                yield name, option, kind, info.help or ""


def test_all_commands_have_quiet_debug_help_and_json() -> None:
    for name, command in commands():
        has = {option for of, option, *_ in options() if of == name}
        assert {"--quiet", "--debug"} <= has, name
        assert "--json" in has or name == "serve", name
        assert (command.__doc__ or "").split("\n")[0].endswith("."), name


def test_an_option_is_the_same_wherever_it_stands() -> None:
    seen: dict[str, tuple[str, Any, str]] = {}
    for name, option, kind, said in options():
        assert said.endswith("."), (name, option)
        if option not in OWN and (name, option) != ENGINES_OF_WORK:
            before = seen.setdefault(option, (name, kind, said))
            assert before[1:] == (kind, said), f"{option} of {name} and of {before[0]} differ"


def test_arguments_have_names_in_capitals_and_help() -> None:
    seen = 0
    for name, command in commands():
        for parameter in signature(command).parameters.values():
            info = getattr(parameter.annotation, "__metadata__", (None,))[0]
            if isinstance(info, ArgumentInfo):
                word = str(info.metavar)
                assert word.upper().startswith(word[:3]) and not word.endswith("."), (name, parameter.name)
                assert (info.help or "").endswith("."), (name, parameter.name)
                seen += 1
    assert seen > 15


def test_shared_options_are_those_of_the_api() -> None:
    for name, option, kind, said in options():
        field = option.removeprefix("--").replace("-", "_")
        if (name, option) == ENGINES_OF_WORK:
            continue
        if name in ("fuse", "batch", "decompose", "serve") and field in ("task", "align", "deghost", "engine"):
            assert said == says(field)
            assert values(field) == get_args(kind if get_origin(kind) is Literal else get_args(kind)[0])


def completed(shell: str, *words: str) -> str:
    """What a shell is answered after some words; the last one is begun."""
    asked = {
        "COMP_WORDS": " ".join(("defusion", *words)),
        "COMP_CWORD": str(len(words)),
        "_TYPER_COMPLETE_ARGS": " ".join(("defusion", *words)),
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_DEFUSION_COMPLETE": f"complete_{shell}",
    }
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['defusion']; from defusion.cli import main; main()"],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def complete(*words: str) -> list[str]:
    """What bash offers after some words."""
    return completed("bash", *words).split()


def test_bash_completes_commands_options_and_values() -> None:
    assert {"fuse", "batch", "serve"} <= set(complete(""))
    assert complete("fuse", "--deg") == ["--deghost"]
    assert complete("fuse", "--deghost", "") == ["auto", "off", "low", "high"]
    assert "--metrics" in complete("metrics", "--me")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_get_one_candidate_a_line_with_its_help(shell: str) -> None:
    (line,) = completed(shell, "fuse", "--deg").splitlines()
    assert "--deghost" in line and "high from three frames on." in line
    values_of_task = re.sub(r"_arguments|\W+", " ", completed(shell, "fuse", "--task", "")).split()
    assert values_of_task == ["auto", "exposure", "focus", "infrared", "generic"]


@pytest.mark.parametrize("where", ["before", "after"])
def test_quiet_and_debug_stand_before_or_after_the_name(where: str, tmp_path: Path) -> None:
    words = ["fuse", tmp_path / "absent.png", tmp_path / "absent.png", "-o", tmp_path / "out.png"]
    debug, quiet = (
        run(*([option, *words] if where == "before" else [*words, option])) for option in ("--debug", "-q")
    )
    assert "Traceback" in debug.stderr
    assert quiet.stderr.startswith("defusion: ") and len(quiet.stderr.splitlines()) == 1


def test_quiet_says_nothing_of_what_was_made_and_prints_what_was_asked_for() -> None:
    assert "pyramid" in CliRunner().invoke(app, ["weights", "list", "--quiet"]).stdout


def test_quiet_fusing_prints_nothing(tmp_path: Path) -> None:
    from PIL import Image

    for name, shade in (("a", 40), ("b", 200)):
        Image.new("RGB", (64, 48), (shade, shade, shade)).save(tmp_path / f"{name}.png")
    sources = [str(tmp_path / "a.png"), str(tmp_path / "b.png"), "-o", str(tmp_path / "out.png")]
    done = CliRunner().invoke(app, ["fuse", *sources, "--align", "off", "-q"])
    assert (done.exit_code, done.output) == (0, "")
    assert "fused into" in CliRunner().invoke(app, ["fuse", *sources, "--align", "off"]).output


def test_man_pages_have_every_command_and_option(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "docs" / "_man.py"
    subprocess.run([sys.executable, script, tmp_path], env={**os.environ, "COLUMNS": "300"}, check=True)
    for name, option, *_ in options():
        page = (tmp_path / f"defusion-{name.replace(' ', '-')}.1").read_text(encoding="utf-8")
        for word in option.split("/"):  # an option and its opposite
            assert word.replace("-", "\\-") in page, (name, option)
