"""What the machine has and what would be used of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from defusion import Fuser, WeightsError
from defusion.doctor import examine
from defusion.system import machine
from defusion.weights import bundled


def test_the_doctor_tells_what_would_be_used_and_that_is_used() -> None:
    found = examine()
    would, engine = found["would_use"], Fuser().engine
    assert (would["engine"], would["device"], would["precision"]) == (engine.name, engine.device, engine.precision)
    assert would["precision"] in would["why"] or "no lower precision" in would["why"]
    assert found["engines"]["openvino"]["precisions"]["float32"] == "yes"
    assert "cpu" in found["engines"]["torch"]["devices"]
    assert found["cores"] >= 1
    assert found["free_memory_mb"] > 10
    assert json.loads(json.dumps(found)) == found


def test_the_cache_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFUSION_CACHE", str(tmp_path))
    assert examine()["cache"] == {"folder": str(tmp_path / "openvino"), "megabytes": 0, "faults": ["none"]}
    (tmp_path / "openvino" / "graph.blob").write_bytes(bytes(2_000_000))
    found = examine()["cache"]
    assert found["megabytes"] == 2
    assert "graph.blob is damaged" in str(found["faults"])


def test_damaged_weights_are_found(tmp_path: Path) -> None:
    damaged = bytearray(bundled()["paper"].read_bytes())
    damaged[-5000] ^= 1
    (tmp_path / "a.safetensors").write_bytes(damaged)
    with pytest.raises(WeightsError, match="damaged"):
        examine(str(tmp_path / "a.safetensors"))


def test_a_library_that_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "torch" in examine()["engines"]["torch"]["cannot_be_loaded"]


@pytest.mark.parametrize(("limit", "free"), [("max", 8_000_000_000), ("3000000000", 2_300_000_000)])
def test_a_container_has_what_its_limit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, free: int
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("1000000000\n")
    (tmp_path / "memory.stat").write_text("anon 600000000\ninactive_file 300000000\nactive_file 100000000\n")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)

    class Memory:
        available = 8_000_000_000

    monkeypatch.setattr("psutil.virtual_memory", Memory)
    assert machine.free_bytes() == free
