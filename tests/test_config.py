"""Options from `defusion.toml`: which file, which commands, and what overrides it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from defusion.cli import app
from defusion.cli.config import defaults_from
from defusion.cli.output import Talk
from defusion.errors import DefusionError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pictures in the current folder, and a user's configuration folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("platformdirs.user_config_path", lambda *_, **__: tmp_path / "config")
    monkeypatch.setattr(Talk, "config", None)
    monkeypatch.setattr(Talk, "from_config", {})
    for number in (20, 90):
        Image.fromarray(np.full((16, 24), number, np.uint8)).save(f"{number}.png")
    return tmp_path


def ran(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments], catch_exceptions=True)


def equalised(*arguments: str) -> Result:
    """Runs a command that needs no network."""
    return ran("align", "20.png", "90.png", "-o", "out", "--like", "20.png", *arguments)


def test_a_file_sets_options_and_that_is_told() -> None:
    Path("defusion.toml").write_text('json = true\n[align]\norientation = "ignore"\n')
    done = equalised()
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)["config"]
    assert told == {
        "file": str(Path("defusion.toml").absolute()),
        "options": {"json": True, "orientation": "ignore"},
    }
    assert "defusion.toml sets --" in done.stderr


def test_the_command_line_overrides_the_file() -> None:
    Path("defusion.toml").write_text('orientation = "ignore"\n')
    done = equalised("--orientation", "apply", "--json")
    assert done.exit_code == 0 and "config" not in json.loads(done.stdout)
    assert "defusion.toml" not in done.stderr


def test_a_table_of_a_command_overrides_what_all_have() -> None:
    Path("defusion.toml").write_text('orientation = "nonsense"\n[align]\norientation = "ignore"\n')
    assert equalised().exit_code == 0
    assert ran("fuse", "20.png", "90.png", "-o", "a.png").exit_code == 2


def test_the_folder_s_own_file_goes_before_the_user_s(folder: Path) -> None:
    (folder / "config").mkdir()
    (folder / "config" / "defusion.toml").write_text('orientation = "ignore"\n')
    assert str(folder / "config") in equalised().stderr
    Path("defusion.toml").write_text("")
    assert "sets" not in equalised().stderr


def test_doctor_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("defusion.doctor.examine", lambda _: {})
    assert json.loads(ran("doctor", "--json").stdout)["config_file"] is None
    Path("defusion.toml").write_text("")
    assert json.loads(ran("doctor", "--json").stdout)["config_file"] == str(Path("defusion.toml").absolute())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("algn = 1", "no command has an option 'algn'"),
        ("[fuze]", "there is no command 'fuze'; expected one of"),
        ("[fuse]\nscheduler = 1", "fuse has no option 'scheduler'; expected one of"),
        ("[rig.calibrate]\ncodec = 1", "calibrate has no option 'codec'"),
        ("output = 'x'", "no command has an option 'output'"),
        ("align off", "is not TOML"),
        ("fuse = 3", "no command has an option 'fuse'"),
    ],
)
def test_what_no_command_has_is_refused(text: str, said: str) -> None:
    Path("defusion.toml").write_text(text)
    done = equalised()
    assert isinstance(done.exception, DefusionError) and said in str(done.exception)
    assert not Path("out").exists()


def test_help_works_whatever_the_file_says() -> None:
    Path("defusion.toml").write_text("algn = 1")
    assert ran("--help").exit_code == 0


def test_the_example_in_docs_is_right() -> None:
    page = (Path(__file__).parents[1] / "docs" / "command.md").read_text(encoding="utf-8")
    Path("defusion.toml").write_text(page.split("```toml\n")[1].split("```")[0])
    found = defaults_from(Path("defusion.toml"), typer.main.get_command(app))
    assert found["fuse"] == {"align": "similarity", "precision": "float32"}
    assert found["batch"]["format"] == "tif" and found["rig"]["calibrate"]["distance"] == 20
