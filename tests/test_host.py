"""The program that calls us keeps its own process: warnings, settings and modules; memory comes back to it."""

from __future__ import annotations

import pickle
import platform
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defusion import Fuser, WeightsError
from defusion.weights import WeightsFile

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), np.uint8)


def in_a_program(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_first_fuse_leaves_the_filters_of_warnings(engine: str, tmp_path: Path) -> None:
    if engine == "torch":
        pytest.importorskip("torch", reason="the extra `torch` is not installed")
    for name, picture in zip("ab", PICTURES, strict=True):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    said = in_a_program(
        """
        import sys, warnings
        before = list(warnings.filters)
        import defusion
        defusion.fuse([sys.argv[1] + "/a.png", sys.argv[1] + "/b.png"], engine=sys.argv[2])
        print([new for new in warnings.filters if new not in before], warnings.filters == before)
        """,
        tmp_path,
        engine,
    )
    assert said.strip() == "[] True"


def test_openvinos_converter_is_there_when_it_is_asked_for() -> None:
    said = in_a_program(
        """
        import sys
        import defusion.runtime.vino
        import openvino as ov
        print("openvino.tools.ovc" in sys.modules, hasattr(ov, "nonsense"), callable(ov.convert_model))
        """
    )
    assert said.split() == ["False", "False", "True"]


def test_large_blocks_come_back_to_the_system() -> None:
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc keeps large blocks, and only glibc is told not to")
    said = in_a_program(
        """
        import ctypes, psutil
        from defusion import Fuser
        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        libc.free.argtypes = [ctypes.c_void_p]
        Fuser()
        resident = psutil.Process().memory_info
        before = resident().rss
        libc.free(libc.malloc(30 * 2**20))  # from here on glibc would keep blocks of that size
        blocks = []
        for _ in range(10):
            blocks.append(libc.malloc(20 * 2**20))
            ctypes.memset(blocks[-1], 1, 20 * 2**20)
            libc.malloc(2**20)  # in the way of giving back what lies below
        for block in blocks:
            libc.free(block)
        print((resident().rss - before) // 2**20)
        """
    )
    assert int(said) < 40


def test_a_fuser_travels_to_a_worker_that_loads_its_own(small_weights: WeightsFile) -> None:
    fuser = Fuser(weights=small_weights.path, precision="float32", task="focus")
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        there = pool.submit(fuser.fuse, list(PICTURES)).result()
    assert np.array_equal(there, fuser.fuse(list(PICTURES)))


def test_a_pickled_fuser_is_its_options(small_weights: WeightsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_weights.path.parent)
    fuser = Fuser(weights=small_weights.path.name, precision="float32")
    sent = pickle.dumps(fuser)
    assert len(sent) < 1000
    assert fuser.__reduce__() == (Fuser, (fuser.options,))
    monkeypatch.chdir("/")
    again = pickle.loads(sent)
    assert again.weights.path == small_weights.path
    assert np.array_equal(again.fuse(list(PICTURES)), fuser.fuse(list(PICTURES)))
    shipped = pickle.dumps(Fuser())
    assert str(Path(sys.prefix)).encode() not in shipped  # shipped weights lie elsewhere on another machine


def test_a_fuser_whose_weights_are_gone_says_so(small_weights: WeightsFile, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(small_weights.path.read_bytes())
    sent = pickle.dumps(Fuser(weights=path))
    path.unlink()
    with pytest.raises(WeightsError, match=r"mine\.safetensors: no such weights file"):
        pickle.loads(sent)


def test_float32_is_no_tensorfloat_and_the_programs_choice_comes_back(small_weights: WeightsFile) -> None:
    torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
    from defusion.runtime import load_engine

    engine = load_engine(small_weights, engine="torch")
    settings = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
    seen = []
    engine._network.register_forward_pre_hook(  # type: ignore[attr-defined]
        lambda *_: seen.append([setting.fp32_precision for setting in settings])
    )
    a, b = np.random.default_rng(0).random((2, 1, 3, 16, 16), np.float32)
    before = [setting.fp32_precision for setting in settings]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: engine.fuse(a, b), range(8)))
    assert seen == 8 * [["ieee", "ieee"]]
    assert [setting.fp32_precision for setting in settings] == before
    assert torch.backends.cudnn.allow_tf32  # the older name for it agrees
