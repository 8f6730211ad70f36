"""How pictures are fused: every choice that users have, with its values, default and help.

The Python API, the command line, batches and the service all take their choices from `Options`.
"""

from __future__ import annotations

import os
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, TypedDict, Unpack

from defusion.errors import OptionError, OptionTypeError

ENGINES = ("openvino", "torch")
PRECISIONS = ("float32", "bfloat16", "float16")
TASKS = ("auto", "exposure", "focus", "infrared", "generic")
ALIGNS = ("auto", "off", "translation", "similarity", "affine", "homography")
DEGHOSTS = ("auto", "off", "low", "high")

#: Options that decide which network is loaded and where it runs.
NETWORK = ("weights", "engine", "device", "precision")


#: Options for a thermal source.
THERMAL = ("rig", "plane", "isotherm", "palette")


class SceneChoices(TypedDict, total=False):
    """Options that may differ from call to call of one `Fuser`."""

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
        weights: Name of shipped weights or path of a weights file; None for "pyramid". "paper" is the paper's own
            network, which fuses two sources.
        engine: "openvino" or "torch"; None for openvino, or torch where the device is not the CPU.
        device: "cpu", or a torch device such as "cuda"; None for the CPU.
        precision: "float32", "bfloat16" or "float16"; None for the fastest that is accurate enough on this machine.
        task: What the result says that the scene is: "exposure", "focus", "infrared" or "generic"; "auto" recognises
            it from the sources. The picture does not depend on it.
        infrared_palette: The false colour of one source, such as "iron": it is turned back into temperature first.
            "auto" recognises it, "none" takes all colours as they are.
        align: How freely sources are moved until they line up: "translation", "similarity", "affine" or
            "homography"; "auto" finds out, "off" leaves them where they are.
        crop: Where sources had to be aligned, the result is what all show; else all of the
            reference that the others are aligned to.
        deghost: What moves is shown as one frame shows it. Of exposures the best exposed: "low" where they differ
            strongly, "high" where they differ at all, "auto" is "high" from three on. Of four frames of a focus stack
            and more that with most detail there. "off" nowhere.
        rig: A file of `defusion rig calibrate`: the first source, the thermal one, is aligned with the second.
        plane: Distance of what is to lie right, in metres, of a rig that knows how far its cameras are apart.
        isotherm: What a thermal source measures from one value to another is painted: "30..40", in degrees or counts.
        palette: The colours of the isotherm.

    Raises:
        OptionError: A value that is not one of an option's values; it is a `ValueError`.
        OptionTypeError: A value of another type; it is a `TypeError`.
    """

    weights: str | os.PathLike[str] | None = field(
        default=None,
        metadata=_help(
            "Shipped weights by name, or a weights file. pyramid, unless given; paper fuses two as the paper does.",
            kind=(str, os.PathLike),
        ),
    )
    engine: str | None = field(
        default=None, metadata=_help("openvino, or torch where the device is not cpu, unless given.", ENGINES)
    )
    device: str | None = field(default=None, metadata=_help("cpu (default), or a torch device such as cuda."))
    precision: str | None = field(
        default=None,
        metadata=_help("Of the network; the fastest that is accurate enough here, unless given.", PRECISIONS),
    )
    task: str = field(
        default="auto", metadata=_help("What the report calls the scene; the picture is the same.", TASKS)
    )
    infrared_palette: str = field(
        default="auto",
        metadata=_help("False colour of a thermal source, such as iron; auto recognises it, none leaves it."),
    )
    align: str = field(
        default="auto",
        metadata=_help("How freely frames are moved until they line up; auto finds out, off leaves them.", ALIGNS),
    )
    crop: bool = field(
        default=True,
        metadata=_help("Keep only what all frames cover, where they had to be aligned.", kind=bool),
    )
    deghost: str = field(
        default="auto",
        metadata=_help(
            "Show what moves as one frame does; of exposures the best, low less of it, auto from three frames on.",
            DEGHOSTS,
        ),
    )
    rig: str | os.PathLike[str] | None = field(
        default=None,
        metadata=_help(
            "A file of `defusion rig calibrate`: the first source, the thermal one, is aligned with the second.",
            kind=(str, os.PathLike),
        ),
    )
    plane: float | None = field(
        default=None,
        metadata=_help("With a rig that knows its parallax: distance in metres of what is to lie right.", kind=float),
    )
    isotherm: str | None = field(
        default=None,
        metadata=_help("Paint what a thermal source measures from one value to another, such as 30..40."),
    )
    palette: str = field(default="iron", metadata=_help("Colours of the isotherm, such as inferno."))

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each, getattr(self, each.name))
        if self.plane is not None and (self.rig is None or not self.plane > 0):
            raise OptionError(f"plane came as {self.plane:g}; expected metres above 0, together with a rig")

    def changed(self, **choices: Unpack[Choices]) -> Options:
        """Returns these options with some of them chosen otherwise."""
        return replace(self, **choices)

    def network(self) -> Options:
        """Returns these options with the defaults for all that does not decide about the network."""
        return Options(self.weights, self.engine, self.device, self.precision)

    def of_scene(self) -> SceneChoices:
        """Returns the options that do not decide about the network."""
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
        """Returns the options that differ from the defaults, by name, as JSON has them."""
        found = {
            each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) != each.default
        }
        return {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in found.items()}


#: What is done unless something is chosen.
DEFAULTS = Options()


def says(name: str) -> str:
    """Returns what an option does, in a sentence for help texts."""
    return str(_fields[name].metadata["says"])


def default(name: str) -> Any:
    """Returns the default of an option."""
    return _fields[name].default


def values(name: str) -> tuple[str, ...]:
    """Returns the values that an option may have; none where any text may be one."""
    return _values(_fields[name])


_fields = {each.name: each for each in fields(Options)}
