"""Options from a file: `defusion.toml` in the current folder, or else in the user's configuration folder.

Keys are the long names of options. Keys before any table apply to every command that has the option. A table, such
as `[batch]` or `[rig.calibrate]`, applies to one command and overrides them. The command line overrides the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import platformdirs

from defusion.errors import DefusionError

NAME = "defusion.toml"

#: Options that no file may set: they say what one run does.
_NOT_IN_FILE = ("output", "version", "help")


def config_file() -> Path | None:
    """Returns the file that options are read from; None if there is none."""
    candidates = (Path(NAME), platformdirs.user_config_path("defusion", appauthor=False) / NAME)
    return next((path.absolute() for path in candidates if path.is_file()), None)


def defaults_from(file: Path, group: Any) -> dict[str, Any]:
    """Reads a file of options as click's `default_map` for the commands of a group.

    Args:
        file: The file.
        group: The group of commands; its type is click's, of which typer has a copy in some versions.

    Raises:
        DefusionError: The file cannot be read, or has a command, an option or a value that does not exist.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DefusionError(f"{file} cannot be read ({error.strerror}); make it readable, or move it") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DefusionError(f'{file} is not TOML ({error}); expected lines such as align = "off"') from error
    shared = {name: value for name, value in content.items() if not isinstance(value, dict)}
    known = {option for command in _commands(group) for option in _options(command)}
    for name in shared:
        if name not in known:
            raise DefusionError(f"{file}: no command has an option {name!r}; expected a long name, such as align")
    return _defaults(file, group, shared, content)


def taken(context: Any) -> dict[str, Any]:
    """Returns the options of a command that were taken from the file, by their long names."""
    return {
        name: context.params.get(parameter)
        for name, parameter in _options(context.command).items()
        if context.get_parameter_source(parameter).name == "DEFAULT_MAP"
    }


def _defaults(file: Path, group: Any, shared: Mapping[str, Any], tables: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: table for name, table in tables.items() if isinstance(table, dict)}
    for name in own:
        if name not in group.commands:
            raise DefusionError(f"{file}: there is no command {name!r}; expected one of {', '.join(group.commands)}")
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        table = own.get(name, {})
        if hasattr(command, "commands"):
            found[name] = _defaults(file, command, shared, table)
            continue
        options = _options(command)
        for option in table:
            if option not in options:
                raise DefusionError(f"{file}: {name} has no option {option!r}; expected one of {', '.join(options)}")
        chosen = {option: value for option, value in shared.items() if option in options} | table
        found[name] = {options[option]: value for option, value in chosen.items()}
    return found


def _commands(group: Any) -> Iterator[Any]:
    for command in group.commands.values():
        if hasattr(command, "commands"):
            yield from _commands(command)
        else:
            yield command


def _options(command: Any) -> dict[str, str]:
    """Returns click's names of a command's options, by their long names without dashes."""
    return {
        name.removeprefix("--"): parameter.name
        for parameter in command.params
        if parameter.param_type_name == "option"
        for name in parameter.opts
        if name.startswith("--") and name.removeprefix("--") not in _NOT_IN_FILE
    }
