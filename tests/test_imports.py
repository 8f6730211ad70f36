"""Imports point down: the rules stand in pyproject.toml, and a room that breaks one is named."""

import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).parents[1]


def test_imports_point_down() -> None:
    code = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=HOUSE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "4 kept, 0 broken" in done.stdout


def test_every_room_has_its_floor() -> None:
    """A new room is placed by who adds it, or it could import whatever it likes."""
    import tomllib

    contracts = tomllib.loads((HOUSE / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    placed = {name.strip() for layer in contracts[0]["layers"] for name in layer.replace(":", "|").split("|")}
    package = HOUSE / "src" / "defusion"
    rooms = {f"defusion.{path.stem}" for path in package.iterdir() if (path / "__init__.py").exists()}
    rooms |= {f"defusion.{path.stem}" for path in package.glob("*.py")} - {"defusion.__init__"}
    assert rooms == placed
