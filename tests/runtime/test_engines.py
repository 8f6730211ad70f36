"""Engines on the paper's network: that they agree, at any size, from any thread, and refuse what is not there."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch

from defusion.errors import EngineError
from defusion.runtime import ENGINES, Embeddings, Engine, Planes, graph, load_engine, openvino_engine
from defusion.weights import WeightsFile, save


def sources(batch: int, height: int, width: int, seed: int = 0) -> tuple[Planes, Planes]:
    a, b = np.random.default_rng(seed).random((2, batch, 3, height, width), np.float32)
    return a, b


def everything(engine: Engine, a: Planes, b: Planes) -> list[Planes]:
    """All pictures that an engine makes of a pair."""
    return [*engine.decompose(a, b), engine.fuse(a, b)]


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
    for height, width in [(33, 70), (64, 64), (9, 17), (1, 1)]:
        a, b = sources(2, height, width)
        assert_close(vino.fuse(a, b), reference.fuse(a, b), 1e-4)
        for made, expected in zip(vino.decompose(a, b), reference.decompose(a, b), strict=True):
            assert_close(made, expected, 1e-4)


@pytest.mark.parametrize("layout", ["small", "released"])
def test_engines_agree_on_embeddings(layout: str, request: pytest.FixtureRequest) -> None:
    weights: WeightsFile = request.getfixturevalue(f"{layout}_weights")
    vino, reference = (load_engine(weights, engine=engine) for engine in ENGINES)
    for height, width in [(33, 70), (16, 24), (1, 1)]:
        a, b = sources(2, height, width)
        made, expected = vino.embed(a, b), reference.embed(a, b)
        for name in Embeddings._fields:
            assert getattr(made, name).shape == (2, weights.config.embedding, height, width)
            assert_close(getattr(made, name), getattr(expected, name), 1e-4)
            assert 0 <= getattr(made, name).min() < getattr(made, name).max()


@pytest.mark.parametrize("engine", ENGINES)
def test_pictures_are_projected_from_the_embeddings(engine: str, small_weights: WeightsFile) -> None:
    a, b = sources(1, 24, 32)
    loaded = load_engine(small_weights, engine=engine)
    tensors, f_u1 = small_weights.tensors(), loaded.embed(a, b).unique_a
    windows = np.lib.stride_tricks.sliding_window_view(f_u1[0], (3, 3), axis=(1, 2))
    weight, bias = (tensors[f"project_unique.conv.{name}"] for name in ("weight", "bias"))
    projected = np.einsum("chwij,ocij->ohw", windows, weight) + bias[:, None, None]
    picture = loaded.decompose(a, b).unique_a[:, :, 1:-1, 1:-1]  # without the padded border
    assert_close(picture[0], np.maximum(projected, 0).astype(np.float32), 1e-4)


def test_the_reference_pictures_are_worth_comparing(torch_engine: Engine) -> None:
    a, b = sources(1, 48, 48)
    for picture in (*torch_engine.decompose(a, b), torch_engine.fuse(a, b)):
        assert picture.std() > 0.01


def test_one_graph_serves_every_size(
    small_weights: WeightsFile, torch_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []
    build = graph.build
    monkeypatch.setattr(graph, "build", lambda *args, **options: compiled.append(args) or build(*args, **options))
    engine = load_engine(small_weights)
    for height, width in [(16, 16), (40, 8), (7, 90), (16, 16), (129, 31)]:
        a, b = sources(1, height, width)
        assert_close(engine.fuse(a, b), torch_engine.fuse(a, b), 1e-4)
    assert len(compiled) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_sources_are_left_as_they_are(engine: str, small_weights: WeightsFile) -> None:
    a, b = sources(1, 16, 24)  # sizes that need no padding, so that no copy is forced
    before = a.copy(), b.copy()
    loaded = load_engine(small_weights, engine=engine)
    loaded.decompose(a, b)
    loaded.fuse(a, b)
    assert np.array_equal(a, before[0])
    assert np.array_equal(b, before[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_pictures_stay_when_the_next_pair_comes(engine: str, small_weights: WeightsFile) -> None:
    loaded = load_engine(small_weights, engine=engine)
    (a, b), (c, d) = (sources(1, 16, 16, seed=seed) for seed in (1, 2))
    first = everything(loaded, a, b)
    kept = [picture.copy() for picture in first]
    everything(loaded, c, d)
    assert all(np.array_equal(picture, copy) for picture, copy in zip(first, kept, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_views_of_other_arrays_are_sources_too(engine: str, small_weights: WeightsFile) -> None:
    loaded = load_engine(small_weights, engine=engine)
    a, b = sources(1, 16, 24)
    turned = (np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for x in (a, b))
    assert_close(loaded.fuse(*turned), loaded.fuse(a, b), 1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_get_what_one_thread_gets(engine: str, small_weights: WeightsFile) -> None:
    loaded = load_engine(small_weights, engine=engine)
    pairs = [sources(1, 16 + 8 * (number % 3), 24, seed=number) for number in range(12)]
    unshared = load_engine(small_weights, engine=engine)
    alone = [everything(unshared, *pair) for pair in pairs]
    with ThreadPoolExecutor(4) as pool:  # the first calls of all threads compile at once
        together = list(pool.map(lambda pair: everything(loaded, *pair), pairs))
    for one, many in zip(alone, together, strict=True):
        for made, expected in zip(many, one, strict=True):
            assert_close(made, expected, 1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_attention_of_a_pair_given_back_to_it_changes_nothing(engine: str, small_weights: WeightsFile) -> None:
    loaded = load_engine(small_weights, engine=engine)
    a, b = sources(1, 21, 34)
    attention = loaded.attend(a, b)
    given = loaded.decompose(a, b, attention)
    for made, expected in zip(given, loaded.decompose(a, b), strict=True):
        assert_close(made, expected, 1e-5)
    assert_close(loaded.fuse(a, b, attention), loaded.fuse(a, b), 1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_attention_given_in_one_thread_is_not_that_of_another(engine: str, small_weights: WeightsFile) -> None:
    loaded = load_engine(small_weights, engine=engine)
    a, b = sources(1, 24, 32)
    attention = {layer: np.zeros_like(weights) for layer, weights in loaded.attend(a, b).items()}
    given = [None, attention] * 6
    own, foreign = (loaded.fuse(a, b, each) for each in (None, attention))
    assert np.abs(own - foreign).max() > 0.01
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda each: loaded.fuse(a, b, each), given))
    for picture, each in zip(made, given, strict=True):
        assert_close(picture, own if each is None else foreign, 1e-6)


def test_networks_of_the_same_shapes_do_not_get_each_others_graph(
    small_weights: WeightsFile, other_small_weights: WeightsFile
) -> None:
    # Compiled graphs are cached on disk under a key that OpenVINO derives from the graph.
    a, b = sources(1, 24, 24)
    for weights in (small_weights, other_small_weights, small_weights):
        expected, made = (load_engine(weights, engine=engine) for engine in ("torch", "openvino"))
        assert_close(made.fuse(a, b), expected.fuse(a, b), 1e-4)
        for picture, reference in zip(made.decompose(a, b), expected.decompose(a, b), strict=True):
            assert_close(picture, reference, 1e-4)


def test_one_changed_number_in_a_network_is_noticed(small_weights: WeightsFile, tmp_path: Path) -> None:
    tensors = small_weights.tensors()
    a, b = sources(1, 16, 16)
    before = load_engine(small_weights).fuse(a, b)
    tensors["project_fused.conv.bias"][1] += 5
    changed = save(tmp_path / "changed.safetensors", tensors, small_weights.config, {})
    after = load_engine(changed).fuse(a, b)
    assert np.array_equal(before[:, [0, 2]], after[:, [0, 2]])
    assert (after[:, 1] > before[:, 1]).all()


def test_compiled_graphs_are_cached_where_the_cache_folder_is(
    small_weights: WeightsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEFUSION_CACHE", str(tmp_path))
    load_engine(small_weights).fuse(*sources(1, 8, 8))
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
    assert_close(load_engine(small_weights).fuse(a, b), vino.fuse(a, b), 1e-6)
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
    fine, coarse = ([*each.decompose(a, b), each.fuse(a, b)] for each in (full, low))
    for rough, exact in zip(coarse, fine, strict=True):
        assert_close(rough, exact, 0.2)
    assert np.abs(coarse[-1] - fine[-1]).max() > 1e-5 * np.abs(fine[-1]).max()


def test_bfloat16_sees_what_of_the_sources_is_finer_than_itself(small_weights: WeightsFile) -> None:
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16 arithmetic")
    low = load_engine(small_weights, precision="bfloat16")
    a, b = (0.5 + np.floor(x * 128) / 256 for x in sources(1, 32, 40))  # what bfloat16 holds between one half and one
    finer = [x + np.float32(2**-11) for x in (a, b)]  # rounded to bfloat16, these are the same
    assert np.abs(low.fuse(*finer) - low.fuse(a, b)).max() > 0


@pytest.mark.parametrize("attention_given", [False, True])
def test_the_encoder_can_be_opened_by_a_graph_of_its_own(small_weights: WeightsFile, attention_given: bool) -> None:
    def run(outputs: tuple[str, ...], given: dict[str, Planes], *, opened_given: bool = False) -> dict[str, Planes]:
        options = {"attention_given": attention_given, "opened_given": opened_given}
        model = graph.build(small_weights.config, small_weights.tensors(), outputs, **options)
        taken = {port.any_name: given[port.any_name] for port in model.inputs}
        made = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(taken)
        return {port.any_name: planes for port, planes in made.items()}

    pair = np.concatenate(sources(1, 48, 40))
    outputs = ("paper", "parts", "embeddings", "attention")
    seen = load_engine(small_weights).attend(pair[:1], pair[1:])
    whole = run(outputs, {"sources": pair, **seen})
    opened = run(("opened", "attention"), {"sources": pair, **seen})
    apart = opened | run(outputs, {**opened, **seen}, opened_given=True)
    assert opened["opened"].shape == (2, small_weights.config.encoder[0].width, 24, 20)
    assert apart.keys() - whole.keys() == {"opened"}
    for name, planes in whole.items():
        assert_close(apart[name], planes, 1e-5)


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
    assert_close(vino.fuse(a, b), torch_engine.fuse(a, b), 2e-5)


@pytest.mark.parametrize(("said", "kind"), [("node 'x' can't alloc", EngineError), ("odd shape", RuntimeError)])
def test_a_network_that_finds_no_memory_says_so(said: str, kind: type[Exception]) -> None:
    class Full:
        model_inputs = ()

        def infer(self, *_: object, **__: object) -> None:
            raise RuntimeError(said)

    with pytest.raises(kind, match="too little memory" if kind is EngineError else said) as raised:
        openvino_engine._run(Full(), {})
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), EngineError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), EngineError),
        (RuntimeError("odd shape"), RuntimeError),
    ],
)
def test_a_device_of_torch_that_is_full_says_so(
    torch_engine: Engine, said: Exception, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise said

    monkeypatch.setattr(torch_engine, "_network", full)
    with pytest.raises(kind, match="too little memory" if kind is EngineError else "odd shape") as raised:
        torch_engine.fuse(*sources(1, 16, 16, seed=1))
    assert type(raised.value) is kind


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="tells no memory of the process")
def test_memory_does_not_grow_with_the_number_of_sizes() -> None:
    code = """
        import numpy as np
        from pathlib import Path
        from defusion import Fuser
        fuser = Fuser(align="off")
        generator = np.random.default_rng(0)
        pair = generator.random((2, 160, 160, 3), np.float32)
        for number in range(76):
            height, width = generator.integers(60, 160, 2)
            fuser.fuse(list(pair[:, :height, :width]))
            if number in (25, 75):
                print(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 10**6)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    after_25, after_75 = map(int, ran.stdout.split())
    assert after_75 - after_25 < 40, ran.stdout  # it was 71 when kernels were kept, and 17 without them


def test_fusing_tells_nobody_of_itself(tmp_path: Path) -> None:
    code = """
        import sys
        import numpy as np
        import defusion
        sys.addaudithook(lambda event, _: print(event) if event in ("socket.connect", "os.fork") else None)
        defusion.fuse(list(np.zeros((2, 32, 32, 3), np.uint8)))
        print([name for name in sys.modules if "telemetry" in name])
    """
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr
    assert not (tmp_path / "intel").exists()


def test_fusing_on_the_cpu_imports_no_torch(small_weights: WeightsFile) -> None:
    code = f"""
        import sys
        import numpy as np
        from defusion.runtime import load_engine
        from defusion.weights import WeightsFile
        engine = load_engine(WeightsFile.open({str(small_weights.path)!r}))
        a, b = np.zeros((2, 1, 3, 9, 10), np.float32)
        fused = engine.fuse(a, b)
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
