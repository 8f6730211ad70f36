"""How pictures are fused: every option that users have, with its values, default and help text.

The Python API, the command line, batches and the service all use `Options`.
"""

from __future__ import annotations

import os
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, TypedDict, Unpack

from defusion.errors import OptionError, OptionTypeError

ENGINES = ("openvino", "torch")
PRECISIONS = ("float32", "bfloat16", "float16")
TASKS = ("auto", "exposure", "focus", "infrared", "generic")
ALIGNS = ("auto", "off", "translation", "similarity", "affine", "homography", "local")
DEGHOSTS = ("auto", "off", "low", "high")

#: Options that decide which network is loaded and where it runs.
NETWORK = ("weights", "engine", "device", "precision")


#: Options that only matter for a thermal source.
THERMAL = ("rig", "plane", "isotherm", "palette")


class SceneChoices(TypedDict, total=False):
    """Options that may differ between calls of one `Fuser`."""

    task: str
    infrared_palette: str
    align: str
    crop: bool
    deghost: str
    rig: str | os.PathLike[str] | None
    plane: float | None
    isotherm: str | None
    palette: str


class Choices(SceneChoices, total=False):
    """All options, as keyword arguments."""

    weights: str | os.PathLike[str] | None
    engine: str | None
    device: str | None
    precision: str | None


def _help(says: str, values: tuple[str, ...] = (), kind: Any = str) -> dict[str, Any]:
    return {"says": says, "values": values, "kind": kind}


def _check(option: Field[Any], value: Any) -> None:
    if value == option.default:
        return
    name, allowed = option.name, _values(option)
    if not isinstance(value, option.metadata["kind"]):
        expected = "True or False" if option.metadata["kind"] is bool else "text"
        raise OptionTypeError(f"{name} came as {type(value).__name__}; expected {expected}")
    if allowed and value not in allowed:
        raise OptionError(f"{name} came as {value!r}; expected {', '.join(allowed[:-1])} or {allowed[-1]}")


def _values(option: Field[Any]) -> tuple[str, ...]:
    if option.name == "infrared_palette":
        from defusion.imaging import PALETTES

        return "auto", "none", *PALETTES
    if option.name == "palette":
        from defusion.imaging import PALETTES

        return PALETTES
    return tuple(option.metadata["values"])


@dataclass(frozen=True)
class Options:
    """How pictures are fused.

    Args:
        weights: Name of shipped weights, or path of a weights file; None for "pyramid". "paper" is the network of the
            paper, which fuses two sources.
        engine: "openvino" or "torch". None chooses openvino on the CPU and torch on other devices.
        device: "cpu", or a torch device such as "cuda"; None for the CPU.
        precision: "float32", "bfloat16" or "float16"; None for the fastest that is accurate enough on this machine.
        task: The kind of scene: "exposure", "focus", "infrared" or "generic"; "auto" recognises it. The network does
            not need it. It decides how moving things are found and whether brightness is equalised, and it is
            reported.
        infrared_palette: The false colour of one source, such as "iron", which is converted back to temperature
            first. "auto" recognises it, "none" takes all colours as they are.
        align: The most general motion by which sources are aligned: "translation", "similarity", "affine" or
            "homography". "auto" finds out what is needed, "off" does not align. "local" also bends frames, for scenes
            with near and far things.
        crop: If sources had to be aligned, keep only the area that all of them cover. Otherwise the result covers all
            of the reference, the source that the others are aligned to.
        deghost: Show each moving thing as one frame shows it. For exposures that is the best exposed frame: "low"
            does so where frames differ strongly, "high" where they differ at all, "auto" is "high" for three frames
            or more. For focus stacks it is the frame with most detail. "off" never does it.
        rig: A file written by `defusion rig calibrate`. It aligns the first source, the thermal one, with the second.
        plane: Distance in metres at which the two cameras of a rig are to line up. The rig has to know its parallax.
        isotherm: Paint the places where a thermal source measures a value in this range: "30..40", in degrees or
            counts.
        palette: The colours of the isotherm.

    Raises:
        OptionError: A value is not allowed for its option; it is a `ValueError`.
        OptionTypeError: A value has the wrong type; it is a `TypeError`.
    """

    weights: str | os.PathLike[str] | None = field(
        default=None,
        metadata=_help(
            "Name of shipped weights, or a file. Default: pyramid. paper: the paper's network, for two pictures.",
            kind=(str, os.PathLike),
        ),
    )
    engine: str | None = field(
        default=None,
        metadata=_help("What runs the network. Default: openvino on the CPU, torch on other devices.", ENGINES),
    )
    device: str | None = field(
        default=None, metadata=_help("Where the network runs: cpu, or a torch device such as cuda. Default: cpu.")
    )
    precision: str | None = field(
        default=None,
        metadata=_help("Precision of the network. Default: the fastest that is accurate enough here.", PRECISIONS),
    )
    task: str = field(
        default="auto",
        metadata=_help("Kind of scene. It decides how moving things are found; the network does not need it.", TASKS),
    )
    infrared_palette: str = field(
        default="auto",
        metadata=_help("False colour of a thermal source, such as iron. auto recognises it, none leaves it."),
    )
    align: str = field(
        default="auto",
        metadata=_help(
            "How freely frames may be moved until they line up. auto finds out, off never moves them.", ALIGNS
        ),
    )
    crop: bool = field(
        default=True,
        metadata=_help(
            "Crop aligned frames to what all of them cover, or keep all of the frame that the others are aligned to.",
            kind=bool,
        ),
    )
    deghost: str = field(
        default="auto",
        metadata=_help(
            "Show each moving thing as one frame shows it. low: only clear motion; auto: high from three frames on.",
            DEGHOSTS,
        ),
    )
    rig: str | os.PathLike[str] | None = field(
        default=None,
        metadata=_help(
            "A file from `defusion rig calibrate`, by which the first, thermal source is aligned with the second.",
            kind=(str, os.PathLike),
        ),
    )
    plane: float | None = field(
        default=None,
        metadata=_help(
            "Distance in metres at which the cameras of a rig line up, if it knows its parallax.", kind=float
        ),
    )
    isotherm: str | None = field(
        default=None,
        metadata=_help("Paint where a thermal source measures a value in this range, such as 30..40."),
    )
    palette: str = field(default="iron", metadata=_help("Colours of the isotherm, such as iron or inferno."))

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each, getattr(self, each.name))
        if self.plane is not None and (self.rig is None or not self.plane > 0):
            raise OptionError(f"plane came as {self.plane:g}; expected metres above 0, together with a rig")

    def changed(self, **choices: Unpack[Choices]) -> Options:
        """Returns these options with some of them changed."""
        return replace(self, **choices)

    def network(self) -> Options:
        """Returns the options that choose the network; all others have their defaults."""
        return Options(self.weights, self.engine, self.device, self.precision)

    def of_scene(self) -> SceneChoices:
        """Returns the options that do not choose the network."""
        return {
            "task": self.task,
            "infrared_palette": self.infrared_palette,
            "align": self.align,
            "crop": self.crop,
            "deghost": self.deghost,
            "rig": self.rig,
            "plane": self.plane,
            "isotherm": self.isotherm,
            "palette": self.palette,
        }

    def given(self) -> dict[str, Any]:
        """Returns the options that differ from their defaults, by name, with values that JSON can hold."""
        found = {
            each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) != each.default
        }
        return {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in found.items()}


#: The default of every option.
DEFAULTS = Options()


def says(name: str) -> str:
    """Returns the help text of an option: one sentence or two."""
    return str(_fields[name].metadata["says"])


def default(name: str) -> Any:
    """Returns the default of an option."""
    return _fields[name].default


def values(name: str) -> tuple[str, ...]:
    """Returns the allowed values of an option; empty if any text is allowed."""
    return _values(_fields[name])


_fields = {each.name: each for each in fields(Options)}
