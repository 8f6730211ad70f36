"""Engines: that they agree, at any size, from any thread, and refuse what is not there."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import numpy as np
import openvino
import pytest

from defusion.errors import EngineError
from defusion.model.config import BLENDINGS, HeadName
from defusion.runtime import ENGINES, Engine, Pictures, Planes, graph, load_engine
from defusion.weights import WeightsFile, save

#: For tests that are about something other than heads.
HEAD: HeadName = "blend"


def sources(batch: int, height: int, width: int, seed: int = 0) -> tuple[Planes, Planes]:
    a, b = np.random.default_rng(seed).random((2, batch, 3, height, width), np.float32)
    return a, b


def assert_close(found: Planes, expected: Planes, relative: float) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == np.float32
    assert np.abs(found - expected).max() <= relative * np.abs(expected).max()


@pytest.fixture(scope="module")
def vino(small_weights: WeightsFile) -> Engine:
    return load_engine(small_weights, engine="openvino")


@pytest.fixture(scope="module")
def torch_engine(small_weights: WeightsFile) -> Engine:
    return load_engine(small_weights, engine="torch")


@pytest.mark.parametrize("layout", ["small", "released"])
def test_openvino_gives_the_pictures_of_torch(layout: str, request: pytest.FixtureRequest) -> None:
    weights: WeightsFile = request.getfixturevalue(f"{layout}_weights")
    vino, reference = (load_engine(weights, engine=engine) for engine in ENGINES)
    for head in weights.config.heads:
        for height, width in [(33, 70), (64, 64), (9, 17), (1, 1)]:
            a, b = sources(2, height, width)
            made, expected = vino.decompose(a, b, head), reference.decompose(a, b, head)
            for name in Pictures._fields:
                assert_close(getattr(made, name), getattr(expected, name), 1e-4)
            assert_close(vino.fuse(a, b, head), expected.fused, 1e-4)


def test_the_reference_pictures_are_worth_comparing(torch_engine: Engine) -> None:
    for picture in torch_engine.decompose(*sources(1, 48, 48), HEAD):
        assert picture.std() > 0.01


@pytest.mark.parametrize("engine", ENGINES)
def test_each_head_paints_a_picture_of_its_own(engine: str, small_weights: WeightsFile) -> None:
    a, b = sources(1, 24, 24)
    loaded = load_engine(small_weights, engine=engine)
    for one, other in combinations(small_weights.config.heads, 2):
        assert np.abs(loaded.fuse(a, b, one) - loaded.fuse(a, b, other)).max() > 1e-3


def test_one_graph_serves_every_size(
    small_weights: WeightsFile, torch_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []
    build = graph.build
    monkeypatch.setattr(graph, "build", lambda *args, **options: compiled.append(args) or build(*args, **options))
    engine = load_engine(small_weights)
    for height, width in [(16, 16), (40, 8), (7, 90), (16, 16), (129, 31)]:
        a, b = sources(1, height, width)
        assert_close(engine.fuse(a, b, HEAD), torch_engine.fuse(a, b, HEAD), 1e-4)
    assert len(compiled) == 1  # of the network; the head's own graph is made elsewhere


@pytest.mark.parametrize("engine", ENGINES)
def test_sources_are_left_as_they_are(engine: str, small_weights: WeightsFile) -> None:
    a, b = sources(1, 16, 24)  # sizes that need no padding, so that no copy is forced
    before = a.copy(), b.copy()
    load_engine(small_weights, engine=engine).decompose(a, b, HEAD)
    assert np.array_equal(a, before[0])
    assert np.array_equal(b, before[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_pictures_stay_when_the_next_pair_comes(engine: str, small_weights: WeightsFile) -> None:
    loaded = load_engine(small_weights, engine=engine)
    first = loaded.decompose(*sources(1, 16, 16, seed=1), HEAD)
    kept = [picture.copy() for picture in first]
    loaded.decompose(*sources(1, 16, 16, seed=2), HEAD)
    assert all(np.array_equal(picture, copy) for picture, copy in zip(first, kept, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_views_of_other_arrays_are_sources_too(engine: str, small_weights: WeightsFile) -> None:
    loaded = load_engine(small_weights, engine=engine)
    a, b = sources(1, 16, 24)
    turned = (np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for x in (a, b))
    assert_close(loaded.fuse(*turned, HEAD), loaded.fuse(a, b, HEAD), 1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_get_what_one_thread_gets(engine: str, small_weights: WeightsFile) -> None:
    loaded = load_engine(small_weights, engine=engine)
    pairs = [sources(1, 16 + 8 * (number % 3), 24, seed=number) for number in range(12)]
    unshared = load_engine(small_weights, engine=engine)
    alone = [unshared.decompose(*pair, HEAD) for pair in pairs]
    with ThreadPoolExecutor(4) as pool:  # the first calls of all threads compile at once
        together = list(pool.map(lambda pair: loaded.decompose(*pair, HEAD), pairs))
        fused = list(pool.map(lambda pair: loaded.fuse(*pair, HEAD), pairs))
    for one, many, single in zip(alone, together, fused, strict=True):
        for name in Pictures._fields:
            assert_close(getattr(many, name), getattr(one, name), 1e-6)
        assert_close(single, one.fused, 1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_attention_of_a_pair_given_back_to_it_changes_nothing(engine: str, small_weights: WeightsFile) -> None:
    loaded = load_engine(small_weights, engine=engine)
    a, b = sources(1, 21, 34)
    for head in small_weights.config.heads:
        given = loaded.decompose(a, b, head, loaded.attend(a, b, "paper"))
        for made, expected in zip(given, loaded.decompose(a, b, head), strict=True):
            assert_close(made, expected, 1e-5)
        assert_close(loaded.fuse(a, b, head, loaded.attend(a, b, head)), loaded.fuse(a, b, head), 1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_attention_given_in_one_thread_is_not_that_of_another(engine: str, small_weights: WeightsFile) -> None:
    loaded = load_engine(small_weights, engine=engine)
    a, b = sources(1, 24, 32)
    attention = {layer: np.zeros_like(weights) for layer, weights in loaded.attend(a, b, HEAD).items()}
    given = [None, attention] * 6
    own, foreign = (loaded.fuse(a, b, HEAD, each) for each in (None, attention))
    assert np.abs(own - foreign).max() > 0.01
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda each: loaded.fuse(a, b, HEAD, each), given))
    for picture, each in zip(made, given, strict=True):
        assert_close(picture, own if each is None else foreign, 1e-6)


def test_networks_of_the_same_shapes_do_not_get_each_others_graph(
    small_weights: WeightsFile, other_small_weights: WeightsFile
) -> None:
    # Compiled graphs are cached on disk under a key that OpenVINO derives from the graph.
    a, b = sources(1, 24, 24)
    for weights in (small_weights, other_small_weights, small_weights):
        expected = load_engine(weights, engine="torch").decompose(a, b, HEAD)
        made = load_engine(weights, engine="openvino").decompose(a, b, HEAD)
        for name in Pictures._fields:
            assert_close(getattr(made, name), getattr(expected, name), 1e-4)


def test_one_changed_number_in_a_network_is_noticed(small_weights: WeightsFile, tmp_path: Path) -> None:
    tensors = small_weights.tensors()
    a, b = sources(1, 16, 16)
    before = load_engine(small_weights).fuse(a, b, "paper")
    tensors["project_fused.conv.bias"][1] += 5
    changed = save(tmp_path / "changed.safetensors", tensors, small_weights.config, {})
    after = load_engine(changed).fuse(a, b, "paper")
    assert np.array_equal(before[:, [0, 2]], after[:, [0, 2]])
    assert (after[:, 1] > before[:, 1]).all()


@pytest.mark.parametrize(("height", "width"), [(33, 70), (64, 64), (9, 17), (1, 1)])
def test_engines_agree_on_a_frames_share_in_a_stack(
    vino: Engine, torch_engine: Engine, height: int, width: int
) -> None:
    frame, reference = sources(1, height, width)
    judged = vino.judge(frame, reference)
    assert_close(judged, torch_engine.judge(frame, reference), 1e-4)
    assert_close(judged, vino.judge(frame, reference, vino.attend(frame, reference, HEAD)), 1e-4)
    for head in BLENDINGS:
        made, expected = (engine.share(frame, reference, judged, head) for engine in (vino, torch_engine))
        assert made.shape == expected.shape == (1, 4, height, width)
        assert_close(made[:, :3], expected[:, :3], 1e-4)
        assert_close(np.log(made[:, 3:]), np.log(expected[:, 3:]), 1e-3)
        parts = [engine.part(frame, reference[:, :1], head) for engine in (vino, torch_engine)]
        assert_close(*parts, 1e-5)
        for engine in (vino, torch_engine):
            combined = engine.combine(frame, reference, judged, head)
            assert_close(combined, vino.fuse(frame, reference, head), 1e-4)


def test_parts_of_weights_that_sum_to_one_are_the_picture_of_both(vino: Engine) -> None:
    frame, weight = sources(1, 70, 90)
    parts = [vino.part(frame, each, "pyramid") for each in (weight[:, :1], 1 - weight[:, :1])]
    assert_close(parts[0] + parts[1], frame, 1e-5)


def test_engines_agree_on_detail(vino: Engine, torch_engine: Engine) -> None:
    frames, _ = sources(3, 40, 50)
    assert_close(np.log(vino.detail(frames)), np.log(torch_engine.detail(frames)), 1e-4)


def test_compiled_graphs_are_cached_where_the_cache_folder_is(
    small_weights: WeightsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEFUSION_CACHE", str(tmp_path))
    load_engine(small_weights).fuse(*sources(1, 8, 8), HEAD)
    assert any(file.is_file() for file in (tmp_path / "openvino").rglob("*"))


@pytest.mark.parametrize("variable", ["DEFUSION_CACHE", "XDG_CACHE_HOME"])
def test_a_cache_folder_that_cannot_be_written_is_no_hindrance(
    variable: str, small_weights: WeightsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vino: Engine
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "temporary").mkdir()
    monkeypatch.delenv("DEFUSION_CACHE")
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    a, b = sources(1, 8, 8)
    assert_close(load_engine(small_weights).fuse(a, b, HEAD), vino.fuse(a, b, HEAD), 1e-6)
    assert (tmp_path / "file").stat().st_size == 0


def test_openvino_is_the_engine_of_the_cpu_in_float32(small_weights: WeightsFile) -> None:
    engine = load_engine(small_weights)
    assert (engine.name, engine.device, engine.precision) == ("openvino", "cpu", "float32")


def test_another_device_means_torch(small_weights: WeightsFile) -> None:
    with pytest.raises(EngineError, match=r"torch .* has no device 'starship'"):
        load_engine(small_weights, device="starship")


def test_an_unknown_engine_is_refused(small_weights: WeightsFile) -> None:
    with pytest.raises(EngineError, match="no engine 'onnx'; expected openvino or torch"):
        load_engine(small_weights, engine="onnx")


def test_an_unknown_precision_is_refused(small_weights: WeightsFile) -> None:
    with pytest.raises(EngineError, match="no precision 'int8'; expected float32 or bfloat16 or float16"):
        load_engine(small_weights, precision="int8")


def test_openvino_refuses_a_gpu(small_weights: WeightsFile) -> None:
    with pytest.raises(EngineError, match="'cpu', not 'cuda'; use engine='torch'"):
        load_engine(small_weights, engine="openvino", device="cuda")


@pytest.mark.parametrize("engine", [None, "torch"])
def test_a_gpu_that_is_absent_is_an_error(engine: str | None, small_weights: WeightsFile) -> None:
    with pytest.raises(EngineError, match="has no device 'cuda:97' here"):
        load_engine(small_weights, engine=engine, device="cuda:97")


@pytest.mark.parametrize("engine", ENGINES)
def test_bfloat16_is_close_to_float32_but_not_it(engine: str, small_weights: WeightsFile) -> None:
    if engine == "openvino" and "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16 arithmetic")
    a, b = sources(1, 32, 40)
    low, full = (load_engine(small_weights, engine=engine, precision=p) for p in ("bfloat16", "float32"))
    assert low.precision == "bfloat16"
    fine, coarse = full.decompose(a, b, "paper"), low.decompose(a, b, "paper")
    for name in Pictures._fields:
        assert_close(getattr(coarse, name), getattr(fine, name), 0.2)
    assert np.abs(coarse.fused - fine.fused).max() > 1e-5 * np.abs(fine.fused).max()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_precision_that_the_processor_lacks_is_an_error(
    precision: str, small_weights: WeightsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("defusion.runtime.openvino_engine.capabilities", lambda: ["FP32", "INT8"])
    with pytest.raises(EngineError, match=f"no {precision} arithmetic; use precision='float32'"):
        load_engine(small_weights, precision=precision)


def test_float32_is_float32_where_the_processor_would_rather_have_bfloat16(
    vino: Engine, torch_engine: Engine
) -> None:
    a, b = sources(1, 64, 64, seed=9)
    assert_close(vino.fuse(a, b, HEAD), torch_engine.fuse(a, b, HEAD), 2e-5)


def test_fusing_on_the_cpu_imports_no_torch(small_weights: WeightsFile) -> None:
    code = f"""
        import sys
        import numpy as np
        from defusion.runtime import load_engine
        from defusion.weights import WeightsFile
        engine = load_engine(WeightsFile.open({str(small_weights.path)!r}))
        fused = engine.fuse(*np.zeros((2, 1, 3, 9, 10), np.float32), 'blend')
        assert fused.shape == (1, 3, 9, 10), fused.shape
        print([name for name in ("torch", "lightning", "gradio", "cv2") if name in sys.modules])
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr


def test_the_torch_engine_without_torch_says_how_to_get_it(small_weights: WeightsFile) -> None:
    code = f"""
        import sys
        sys.modules["torch"] = None
        from defusion.errors import EngineError
        from defusion.runtime import load_engine
        from defusion.weights import WeightsFile
        try:
            load_engine(WeightsFile.open({str(small_weights.path)!r}), engine="torch")
        except EngineError as error:
            print(error)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert 'pip install "defusion[torch]"' in ran.stdout, ran.stderr
