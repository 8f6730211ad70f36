"""The recorded API: no name, parameter or default that users may rely on changes unseen.

After a change that is meant: `python tests/api/test_surface.py` records the new surface, and CHANGELOG.md tells it.
"""

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from numpy.typing import NDArray

import defusion
from defusion import EngineError, Fuser, OptionError, Options, OptionTypeError, SourceTypeError
from defusion.api import fuse as api
from defusion.api.options import NETWORK, Choices, SceneChoices, default, says, values

RECORD = Path(__file__).with_name("api_surface.json")


def surface() -> dict[str, Any]:
    """Every public name, with signatures of functions and members of classes."""
    found: dict[str, Any] = {}
    for name in sorted(set(defusion.__all__) - {"__version__"}):
        each = getattr(defusion, name)
        if not inspect.isclass(each):
            found[name] = str(inspect.signature(each))
            continue
        members = {own: _said(getattr(each, own)) for own in sorted(vars(each)) if not own.startswith("_")}
        fields = getattr(each, "_fields", None) or [
            own.name for own in (dataclasses.fields(each) if dataclasses.is_dataclass(each) else ())
        ]
        bases = [base.__name__ for base in each.__mro__[1:-1] if "defusion" not in base.__module__]
        found[name] = {"bases": bases, "fields": list(fields), "members": members}
    found["Options"]["values"] = {field.name: list(values(field.name)) for field in dataclasses.fields(Options)}
    return found


def flat(shade: int) -> NDArray[np.uint8]:
    return np.full((32, 40, 3), shade, np.uint8)


def _said(member: Any) -> str:
    return str(inspect.signature(member)) if callable(member) else "value"


def test_the_api_is_as_recorded() -> None:
    assert surface() == json.loads(RECORD.read_text()), "see the docstring of this file"


def test_all_that_is_exported_is_there_and_nothing_else_is_named() -> None:
    assert sorted(defusion.__all__) == sorted(dir(defusion))
    with pytest.raises(AttributeError, match="no attribute 'melt'"):
        _ = defusion.melt


def test_options_by_name_are_the_fields_of_options() -> None:
    fields = [field.name for field in dataclasses.fields(Options)]
    assert sorted(get_type_hints(Choices)) == sorted(fields)
    assert sorted(get_type_hints(SceneChoices)) == sorted(set(fields) - set(NETWORK))
    assert sorted(Options().of_scene()) == sorted(get_type_hints(SceneChoices))
    assert all(says(name).endswith(".") for name in fields)
    assert Options(**{name: default(name) for name in fields}) == Options()


def test_wrong_options_are_value_and_type_errors_that_say_what_was_expected() -> None:
    with pytest.raises(ValueError, match="deghost came as 'some'; expected auto, off, low or high") as error:
        Options(deghost="some")
    assert isinstance(error.value, OptionError)
    with pytest.raises(TypeError, match="align came as int; expected text") as other:
        Options(align=2)  # type: ignore[arg-type]
    assert isinstance(other.value, OptionTypeError)
    with pytest.raises(OptionError, match=r"infrared_palette came as 'soup'; expected auto, none, iron"):
        Options(infrared_palette="soup")
    with pytest.raises(TypeError, match="aling"):
        Options(aling="off")  # type: ignore[call-arg]


def test_what_is_no_picture_is_a_type_error() -> None:
    for sources in (3, None, b"\x89PNG", [1, 2]):
        with pytest.raises(TypeError, match="expected") as error:
            defusion.fuse(sources)  # type: ignore[arg-type]
        assert isinstance(error.value, SourceTypeError)
    assert issubclass(SourceTypeError, ValueError)
    assert not issubclass(EngineError, ValueError)  # the argument is right, the machine lacks it


def test_a_call_chooses_before_its_object_and_the_network_stays() -> None:
    fuser = Fuser(Options(task="focus", align="off"), deghost="off")
    assert (fuser.options.task, fuser.options.align, fuser.options.deghost) == ("focus", "off", "off")
    pictures = [defusion.Picture(flat(shade)) for shade in (40, 200)]
    assert fuser.plan(pictures).task == "focus"
    assert fuser.plan(pictures, task="exposure").task == "exposure"
    assert fuser.plan(pictures, task="auto").why != "it was asked for"
    with pytest.raises(OptionError, match="precision came in a call, but a Fuser has one network"):
        fuser.plan(pictures, precision="float32")  # type: ignore[call-arg]


def test_one_network_serves_all_options_of_the_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Options] = []
    api._loaded.cache_clear()
    monkeypatch.setattr("defusion.api.fuse.Fuser", lambda options: made.append(options) or Fuser(options))
    sources = [flat(shade) for shade in (40, 200)]
    defusion.fuse(sources)
    defusion.fuse(sources, align="off")
    defusion.fuse(sources, Options(task="focus"), deghost="off")
    defusion.decompose(*sources, align="off")
    assert len(made) == 1
    api._loaded.cache_clear()


if __name__ == "__main__":
    RECORD.write_text(json.dumps(surface(), indent=2) + "\n")
