"""Fixtures for every test: the project's shared folder, a cache of the tests' own, networks of random weights."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from defusion import weights
from defusion.weights import WeightsFile

# The same examples in every run: a failure is then of the change at hand. Slow machines run the tests too.
settings.register_profile("defusion", max_examples=40, deadline=None, derandomize=True, database=None)
settings.load_profile("defusion")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with reference numbers, beside the checkout or where DEFUSION_SHARED says."""
    folder = Path(os.environ.get("DEFUSION_SHARED") or Path(__file__).parents[2] / "shared")
    if not folder.is_dir():
        pytest.skip(f"no reference numbers: {folder} is absent (DEFUSION_SHARED names another folder)")
    return folder


@pytest.fixture(scope="session")
def heeding() -> Callable[[int], Callable[[], object] | None]:
    """Gives the `preexec_fn` of a process that heeds a signal, which it would inherit as ignored under nohup."""
    if os.name == "nt":
        return lambda _: None
    return lambda number: lambda: signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keeps the tests out of the user's cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEFUSION_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def sound_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets what another test found wrong with the cache."""
    monkeypatch.setattr("defusion.system.cache._faults", {})


def random_weights(path: Path, layout: str, seed: int) -> WeightsFile:
    """Writes a network whose pictures are neither flat nor huge, as default starts would make them."""
    torch = pytest.importorskip("torch", reason="the network is defined in torch")
    from defusion.model import CONFIGS, DeFusion

    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in DeFusion(CONFIGS[layout]).state_dict().items()}
    rng = np.random.default_rng(seed)
    tensors = {}
    for key, shape in shapes.items():
        value = rng.standard_normal(shape) * (np.sqrt(1.0 / np.prod(shape[1:])) if len(shape) > 1 else 0.05)
        tensors[key] = value.astype(np.float32)
    return weights.save(path, tensors, CONFIGS[layout], {"origin": f"random numbers, seed {seed}"})


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> WeightsFile:
    return random_weights(tmp_path_factory.mktemp("weights") / "small.safetensors", "small", seed=1)


@pytest.fixture(scope="session")
def other_small_weights(tmp_path_factory: pytest.TempPathFactory) -> WeightsFile:
    """A network of the same shapes as `small_weights` with other numbers in it."""
    return random_weights(tmp_path_factory.mktemp("weights") / "other.safetensors", "small", seed=2)


@pytest.fixture(scope="session")
def released_weights(tmp_path_factory: pytest.TempPathFactory) -> WeightsFile:
    return random_weights(tmp_path_factory.mktemp("weights") / "released.safetensors", "released", seed=3)


@pytest.fixture(scope="session")
def pyramid_weights(tmp_path_factory: pytest.TempPathFactory) -> WeightsFile:
    """A pyramid network of random numbers: what holds of it holds of any."""
    from defusion.model.blocks import shapes
    from defusion.model.config import PyramidConfig

    rng, tensors = np.random.default_rng(4), {}
    for name, shape in shapes().items():
        spread = np.sqrt(1.0 / np.prod(shape[1:])) if len(shape) > 1 else 0.2
        tensors[name] = (rng.standard_normal(shape) * spread).astype(np.float32)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    return weights.save(path, tensors, PyramidConfig(), {"origin": "random numbers"})
