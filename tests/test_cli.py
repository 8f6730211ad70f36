"""The command: what it writes, what it prints, and how it refuses."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from defusion import EngineError, Fuser, ImageError
from defusion.cli import main
from defusion.doctor import lines_of
from defusion.imaging import Picture, from_array, open_output, read, write

from .running import run, run_here


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Asserts exit code 2 and one sentence, and returns that."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("defusion: ")
    return line


@pytest.fixture(scope="module")
def scene() -> NDArray[np.uint8]:
    return np.ascontiguousarray(data.chelsea()[60:184, 100:260])


@pytest.fixture
def pair(tmp_path: Path, scene: NDArray[np.uint8]) -> tuple[Path, Path]:
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(scene).save(a)
    Image.fromarray(scene // 2).save(b)
    return a, b


def test_fuse_writes_the_picture_and_says_so(pair: tuple[Path, Path], tmp_path: Path) -> None:
    done = run("fuse", *pair, "-o", tmp_path / "out.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert "out.png" in done.stdout
    assert read(tmp_path / "out.png").pixels.shape == (124, 160, 3)


def test_a_reader_that_left_is_no_failure(pair: tuple[Path, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "defusion", "fuse", *map(str, pair), "-o", str(tmp_path / "out.png")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, "")
    assert read(tmp_path / "out.png").pixels.shape == (124, 160, 3)


def test_fuse_keeps_depth_profile_and_exif(scene: NDArray[np.uint8], tmp_path: Path) -> None:
    from PIL import ImageCms

    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tags = Image.Exif()
    tags[0x010F] = "Maker"
    exif = tags.tobytes()
    deep = (np.linspace(0, 1, 124 * 160 * 3, dtype=np.float32)).reshape(124, 160, 3)
    for name in ("a.tif", "b.tif"):
        write(tmp_path / name, Picture.of_pixels(deep, "uint16", icc=icc, exif=exif))
    done = run("fuse", tmp_path / "a.tif", tmp_path / "b.tif", "-o", tmp_path / "out.tif", "--json")
    facts = json.loads(done.stdout)
    assert facts["depth"] == "uint16"
    assert facts["engine"] == "openvino"
    fused = read(tmp_path / "out.tif")
    assert fused.icc == icc
    assert fused.exif is not None
    assert b"Maker" in fused.exif
    assert len(np.unique(np.rint(fused.pixels * 65535))) > 1000


def test_a_shallow_output_gets_a_note(scene: NDArray[np.uint8], tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        write(tmp_path / name, Picture.of_pixels(scene.astype(np.float32) / 255, "uint16"))
    done = run("fuse", tmp_path / "a.tif", tmp_path / "b.tif", "-o", tmp_path / "out.jpg", "--json")
    assert done.returncode == 0
    assert "JPEG holds 8 bits" in json.loads(done.stdout)["notes"][-1]
    assert "note: out.jpg" in done.stderr


def test_decompose_writes_four_parts_and_a_figure(pair: tuple[Path, Path], tmp_path: Path) -> None:
    done = run("decompose", *pair, "-o", tmp_path / "parts", "--json")
    outputs = json.loads(done.stdout)["outputs"]
    assert list(outputs) == ["common", "unique_a", "unique_b", "fused", "figure"]
    assert all(read(outputs[name]).pixels.shape == (124, 160, 3) for name in list(outputs)[:4])
    height, width, _ = read(outputs["figure"]).pixels.shape
    assert height > 2 * 124
    assert width > 3 * 160


def test_decompose_leaves_its_sources_alone(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    source = pair[0].rename(tmp_path / "parts" / "unique_a.png")
    before = source.read_bytes()
    line = refused(run("decompose", source, pair[1], "-o", tmp_path / "parts"))
    assert "unique_a.png would be written over the source" in line
    assert source.read_bytes() == before


def test_explain_pair_writes_the_figure_and_says_what_it_shows(pair: tuple[Path, Path], tmp_path: Path) -> None:
    done = run("explain", "pair", *pair, "-o", tmp_path / "pair")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"the figure is {tmp_path / 'pair' / 'pair.pdf'}"
    assert "where source a has twice the fine detail" in done.stdout
    assert read(tmp_path / "pair" / "pair.png").width == 2160


def test_explain_refuses_sources_of_different_size(pair: tuple[Path, Path], tmp_path: Path) -> None:
    Image.new("RGB", (70, 50)).save(tmp_path / "small.png")
    line = refused(run("explain", "pair", pair[0], tmp_path / "small.png", "-o", tmp_path / "out"))
    assert "small.png is 70x50" in line
    assert not (tmp_path / "out" / "pair.png").exists()


def test_explain_without_matplotlib_says_how_to_get_it(pair: tuple[Path, Path], tmp_path: Path) -> None:
    code = "import sys; sys.modules['matplotlib'] = None; from defusion.cli import main; main()"
    command = [sys.executable, "-c", code, "explain", "toy", str(pair[0]), "-o", str(tmp_path / "out")]
    line = refused(subprocess.run(command, capture_output=True, text=True, check=False))
    assert line == 'defusion: this needs matplotlib: pip install "defusion[evaluate]"'
    assert not (tmp_path / "out").exists()


def test_weights_list_and_info(tmp_path: Path) -> None:
    rows = json.loads(run("weights", "list", "--json").stdout)["weights"]
    assert {row["name"]: row["default"] for row in rows} == {"paper": False, "pyramid": True}
    facts = json.loads(run("weights", "info", "--json").stdout)
    assert facts["config"]["name"] == "pyramid"
    assert facts["about"]["licence"] == "Apache-2.0"
    card = run("weights", "info", "paper").stdout
    assert "# Model card" in card


def test_version_and_help_are_there_at_once() -> None:
    assert run("--version").stdout.startswith("defusion 0.")
    shown = run("--help").stdout
    assert all(name in shown for name in ("fuse", "decompose", "train", "weights", "demo"))


def test_demo_makes_and_fuses_three_pairs(tmp_path: Path) -> None:
    done = run("demo", "-o", tmp_path / "demo", "--json")
    outputs = json.loads(done.stdout)["outputs"]
    assert [Path(output).name for output in outputs][-1] == "demo.png"
    assert len(outputs) == 10
    assert all(Path(output).stat().st_size > 1000 for output in outputs)


def test_sources_of_different_size(pair: tuple[Path, Path], tmp_path: Path) -> None:
    Image.new("RGB", (70, 50)).save(tmp_path / "small.png")
    line = refused(run("fuse", pair[0], tmp_path / "small.png", "-o", tmp_path / "out.png"))
    assert "small.png is 70x50" in line
    assert "160x124" in line
    assert not (tmp_path / "out.png").exists()


def test_one_source(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert "1 source came" in refused(run("fuse", pair[0], "-o", tmp_path / "out.png"))


def test_a_stack_is_fused_and_said_to_be_one(
    pair: tuple[Path, Path], scene: NDArray[np.uint8], tmp_path: Path
) -> None:
    Image.fromarray(scene // 3).save(tmp_path / "c.png")
    done = run("fuse", *pair, tmp_path / "c.png", "-o", tmp_path / "out.tif", "--json")
    facts = json.loads(done.stdout)
    assert (facts["sources"], facts["task"], facts["head"]) == (3, "exposure", "pyramid")
    assert facts["why"].startswith("the brightest source is ")
    assert read(tmp_path / "out.tif").pixels.shape == scene.shape


def test_a_frame_in_the_middle_that_cannot_be_used_is_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    (tmp_path / "torn.png").write_bytes(pair[0].read_bytes()[:3000])
    assert "torn.png is truncated" in refused(run("fuse", pair[0], tmp_path / "torn.png", pair[1], "-o", out))
    Image.new("RGB", (70, 50)).save(tmp_path / "small.png")
    assert "small.png is 70x50" in refused(run("fuse", pair[0], tmp_path / "small.png", pair[1], "-o", out))
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png", "small.png", "torn.png"]


def test_the_task_that_is_asked_for_is_taken(pair: tuple[Path, Path], tmp_path: Path) -> None:
    done = run("fuse", *pair, "-o", tmp_path / "out.png", "--task", "focus", "--json")
    facts = json.loads(done.stdout)
    assert (facts["task"], facts["why"], facts["head"]) == ("focus", "it was asked for", "pyramid")


def test_false_colour_is_converted_back_to_temperature(scene: NDArray[np.uint8], tmp_path: Path) -> None:
    from matplotlib import colormaps

    heat = 255 - scene.mean(2).astype(np.uint8)
    Image.fromarray(heat).save(tmp_path / "grey.png")
    Image.fromarray((colormaps["inferno"](heat)[..., :3] * 255).astype(np.uint8)).save(tmp_path / "hot.png")
    Image.fromarray(scene).save(tmp_path / "vis.png")
    made = {}
    for name, options in {"grey": [], "hot": [], "declared": ["--infrared-palette", "inferno"]}.items():
        thermal = tmp_path / ("grey.png" if name == "grey" else "hot.png")
        out = tmp_path / f"{name}_out.png"
        facts = json.loads(run("fuse", thermal, tmp_path / "vis.png", "-o", out, "--json", *options).stdout)
        assert facts["task"] == "infrared"
        assert ("inferno" in "".join(facts["notes"])) == (name != "grey")
        made[name] = read(out).pixels
    assert np.abs(made["hot"] - made["grey"]).mean() < 0.02
    assert np.array_equal(made["hot"], made["declared"])
    line = refused(run("fuse", tmp_path / "hot.png", tmp_path / "vis.png", "-o", out, "--infrared-palette", "mud"))
    assert "infrared_palette came as 'mud'; expected auto, none, iron" in line


def has_begun(process: subprocess.Popen[str], folder: Path) -> bool:
    """Says whether a process writes its output, which has no name yet, or one that ends in `.part`."""
    if sys.platform != "linux":
        return any(folder.glob("*.part"))
    try:
        opened = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
    except OSError:  # it has ended, or one was closed meanwhile
        return False
    return any(name.startswith(f"{folder}/") and name.endswith((" (deleted)", ".part")) for name in opened)


@pytest.mark.parametrize("name", [each for each in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, each)])
def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, name: str, heeding: Callable[[int], Callable[[], object] | None]
) -> None:
    number = signal.Signals[name]
    noise = np.random.default_rng(0).integers(0, 255, (2400, 2400, 3), np.uint8)
    for file in ("a.tif", "b.tif"):
        write(tmp_path / file, from_array(noise))
    command = [sys.executable, "-m", "defusion", "fuse", "a.tif", "b.tif", "-o", "out.tif"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeding(number),
    ) as process:
        while not has_begun(process, tmp_path) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (128 + number, "defusion: interrupted; no file was left half written\n")
    assert sorted(os.listdir(tmp_path)) == ["a.tif", "b.tif"]


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as a full disk would")
def test_a_disk_that_fills_while_a_tiled_picture_is_written(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1300, 1300, 3), np.uint8)
    for name in ("a.tif", "b.tif"):
        write(tmp_path / name, from_array(noise))
    limited = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20)); "
        "sys.argv[0] = 'defusion'; runpy.run_module('defusion', run_name='__main__')"
    )
    line = [sys.executable, "-c", limited, "fuse", "a.tif", "b.tif", "-o", "out.tif"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "out.tif could not be written (File too large); free some space" in refused(done)
    assert sorted(os.listdir(tmp_path)) == ["a.tif", "b.tif"]


@pytest.mark.skipif(sys.platform == "win32", reason="limits memory as a small machine would")
def test_a_stack_for_which_memory_does_not_suffice(tmp_path: Path) -> None:
    scene = np.tile(data.astronaut(), (3, 3, 1))
    for number in range(3):
        write(tmp_path / f"{number}.png", from_array(scene // (1 + number)))
    limited = (
        "import resource, runpy, sys; import openvino; "
        "taken = 4096 * int(open('/proc/self/statm').read().split()[0]) if sys.platform == 'linux' else 0; "
        "resource.setrlimit(resource.RLIMIT_AS, (taken + 2**28, taken + 2**28)); "
        "sys.argv[0] = 'defusion'; runpy.run_module('defusion', run_name='__main__')"
    )
    line = [sys.executable, "-c", limited, "fuse", "0.png", "1.png", "2.png", "-o", "out.tif"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "memory" in refused(done)
    assert sorted(os.listdir(tmp_path)) == ["0.png", "1.png", "2.png"]


def test_memory_that_is_not_there_is_told_before_the_work(
    pair: tuple[Path, Path], scene: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("defusion.system.machine.free_bytes", lambda: 10**6)
    fuser = Fuser()
    with pytest.raises(EngineError, match=r"fusing takes about \d+ MB of memory at once and 1 MB are free; close"):
        fuser.fuse(list(pair))
    monkeypatch.setattr("defusion.system.machine.free_bytes", lambda: 610 * scene.size // 3)
    assert fuser.fuse(list(pair)).shape == scene.shape


def test_too_little_memory_is_said_in_a_sentence(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def greedy(*_: object) -> None:
        raise MemoryError("Unable to allocate 11.1 MiB")

    monkeypatch.setattr("defusion.scene.scene.measure", greedy)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["defusion", "fuse", *map(str, pair), "-o", str(tmp_path / "out.png")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "there is too little memory (Unable to allocate 11.1 MiB); close" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png"]


def test_the_doctor_speaks_to_people_and_programs() -> None:
    told = run("doctor").stdout
    assert "would use:\n  weights: pyramid\n  engine: openvino\n" in told
    assert json.loads(run("doctor", "--json").stdout)["would_use"]["engine"] == "openvino"
    told = lines_of({"cores": 1, "cache": {"megabytes": 0.0, "folders": ["a", "b"]}, "torch": True, "raw": False})
    assert told == ["cores: 1", "cache:", "  megabytes: 0.0", "  folders: a, b", "torch: yes", "raw: no"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"not a picture at all", "is not a picture"), (None, "was not found")],
)
def test_sources_that_are_no_pictures(
    pair: tuple[Path, Path], tmp_path: Path, content: bytes | None, said: str
) -> None:
    odd = tmp_path / "odd.png"
    if content is not None:
        odd.write_bytes(content)
    assert said in refused(run("fuse", pair[0], odd, "-o", tmp_path / "out.png"))
    assert not (tmp_path / "out.png").exists()


def test_a_truncated_source(pair: tuple[Path, Path], tmp_path: Path) -> None:
    whole = pair[1].read_bytes()
    pair[1].write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refused(run("fuse", *pair, "-o", tmp_path / "out.png"))


def test_outputs_that_cannot_be(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert "there is no folder" in refused(run("fuse", *pair, "-o", tmp_path / "none" / "out.png"))
    assert "expected one of .png" in refused(run("fuse", *pair, "-o", tmp_path / "out.xyz"))
    assert "is a folder" in refused(run("fuse", *pair, "-o", tmp_path))
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(run("decompose", *pair, "-o", tmp_path / "file"))


@pytest.mark.parametrize("way", ["name", "link", "hard link", "capitals"])
def test_no_command_writes_over_what_it_reads(pair: tuple[Path, Path], tmp_path: Path, way: str) -> None:
    other = pair[0] if way == "name" else pair[0].with_name("A.PNG" if way == "capitals" else "other.png")
    if way == "link":
        other.symlink_to(pair[0])
    elif way == "hard link":
        other.hardlink_to(pair[0])
    before = pair[0].read_bytes()
    for sources in (pair, [pair[1], pair[0], pair[1]]):
        line = refused(run("fuse", *sources, "-o", other))
        assert f"{other} would be written over the source {pair[0]}, and sources are kept; choose another" in line
    with pytest.raises(ImageError, match="sources are kept"):
        Fuser().fuse_files(pair, other)
    assert pair[0].read_bytes() == before


def test_a_result_is_no_source_of_the_next_run(pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "fused.png"
    assert run("fuse", *pair, "-o", out).returncode == 0
    once = out.read_bytes()
    refused(run("fuse", *sorted(tmp_path.glob("*.png")), "-o", out))
    assert out.read_bytes() == once


def test_commands_that_write_to_folders_keep_what_they_read(pair: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("toy.png", "pair.png", "figure.png", "fused.tif"):
        source = folder / name
        source.write_bytes(pair[0].read_bytes())
        command = {"toy.png": ["explain", "toy", source], "pair.png": ["explain", "pair", source, pair[1]]}
        arguments = command.get(name, ["decompose", pair[1], source])
        assert f"{name} would be written over the source {source}" in refused(run(*arguments, "-o", folder))
        assert source.read_bytes() == pair[0].read_bytes()
        source.unlink()
    assert list(folder.iterdir()) == []


def test_a_batch_and_a_run_keep_what_they_read(pair: tuple[Path, Path], tmp_path: Path) -> None:
    from defusion.weights import resolve

    folder = tmp_path / "scenes" / "s"
    folder.mkdir(parents=True)
    for file in pair:
        file.rename(folder / file.name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "s.png").symlink_to(folder / "a.png")
    before = (folder / "a.png").read_bytes()
    done = run("batch", f"{tmp_path}/scenes", "-o", tmp_path / "out")
    assert "would be written over the source" in done.stdout + done.stderr, done.stdout + done.stderr
    assert (folder / "a.png").read_bytes() == before
    weights = tmp_path / "run" / "weights.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(resolve(None).read_bytes())
    line = refused(run_here("train", folder, "-o", weights.parent, "--weights", weights))
    assert "weights.safetensors would be written over the source" in line


def test_converting_keeps_the_checkpoint(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.pth"
    theirs.write_bytes(b"theirs")
    (tmp_path / "ours.safetensors").hardlink_to(theirs)
    line = refused(run("weights", "convert", theirs, "-o", tmp_path / "ours.safetensors"))
    assert "ours.safetensors would be written over the source" in line
    assert theirs.read_bytes() == b"theirs"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_outputs_that_are_no_regular_files_stay(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("fifo.png", "out/fused.png", "out/toy.pdf"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "link.png").symlink_to("fifo.png")
    (tmp_path / "null.png").symlink_to("/dev/null")
    lines = [refused(run("fuse", *pair, "-o", tmp_path / f"{name}.png")) for name in ("fifo", "link", "null")]
    lines.append(refused(run("decompose", *pair, "-o", tmp_path / "out")))
    lines.append(refused(run("explain", "toy", pair[0], "-o", tmp_path / "out")))
    assert [word for line in lines for word in ("named pipe", "device") if word in line] == (
        ["named pipe"] * 2 + ["device"] + ["named pipe"] * 2
    )
    assert all(stat.S_ISFIFO((tmp_path / name).stat().st_mode) for name in ("fifo.png", "out/fused.png"))
    assert sorted(os.listdir(tmp_path / "out")) == ["fused.png", "toy.pdf"]


def test_decompose_writes_all_or_nothing(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def failing(*arguments: object, **options: object) -> object:
        opened.append(arguments[0])
        if len(opened) == 5:
            raise ImageError("the disk is full")
        return open_output(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(sys.modules["defusion.imaging.write"], "open_output", failing)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["defusion", "decompose", *map(str, pair), "-o", str(tmp_path / "parts")])
    with pytest.raises(SystemExit):
        main()
    assert len(opened) == 5
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png"]
    opened.clear()
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "common.png").write_bytes(b"earlier")
    with pytest.raises(SystemExit):
        main()
    assert os.listdir(tmp_path / "parts") == ["common.png"]
    assert (tmp_path / "parts" / "common.png").read_bytes() == b"earlier"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_full_disk_at_stdout_is_told_and_the_picture_is_there(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for arguments in (["fuse", *pair, "-o", tmp_path / "out.png"], ["metrics", *pair, pair[0]], ["--version"]):
        command = [sys.executable, "-m", "defusion", *map(str, arguments)]
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("defusion: ") and "(No space left on device); free some space" in line
    assert read(tmp_path / "out.png").pixels.shape == (124, 160, 3)
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "defusion", "fuse", *map(str, pair), "-o", str(tmp_path / "two.png")]
        assert subprocess.run(command, stdout=subprocess.PIPE, stderr=full, check=False).returncode == 0
    assert (tmp_path / "two.png").exists()


@pytest.mark.skipif(os.name == "nt", reason="links and names of POSIX")
def test_names_that_cannot_be_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    long = tmp_path / ("n" * 300 + ".png")
    assert "File name too long" in refused(run("fuse", *pair, "-o", long))
    assert "File name too long" in refused(run("fuse", pair[0], long, "-o", tmp_path / "out.png"))
    assert "levels of symbolic links" in refused(run("fuse", *pair, "-o", tmp_path / "loop.png"))
    assert "levels of symbolic links" in refused(
        run("fuse", pair[0], tmp_path / "loop.png", "-o", tmp_path / "o.png")
    )
    for name in ("n" * 300, "loop.png"):
        refused(run("decompose", *pair, "-o", tmp_path / name))
        refused(run("explain", "pair", *pair, "-o", tmp_path / name))
        refused(run("weights", "convert", pair[0], "-o", tmp_path / name))
        refused(run("weights", "info", tmp_path / name))
        refused(run_here("train", tmp_path / name, "-o", tmp_path / "run"))
        refused(run("evaluate", tmp_path / name, "-o", tmp_path / "report"))
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png", "loop.png"]


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be there")
def test_names_give_the_terminal_no_orders(pair: tuple[Path, Path], tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/\x1b[2J\x07\r\n\x9b\xff\xe2\x80\xae.png"
    Path(os.fsdecode(odd)).write_bytes(pair[0].read_bytes())
    source = Path(os.fsdecode(odd))
    done = run("fuse", source, pair[1], "-o", source.with_suffix(".tif"))
    told = [done, run("fuse", source, source, "-o", source), run("fuse", source, tmp_path / "none", "-o", source)]
    for said in told:
        text = said.stdout + said.stderr
        assert len(text.splitlines()) == 1 and text.endswith("\n")
        assert "\\x1b[2J\\x07\\r\\n" in text and text[:-1].isprintable()
    assert [said.returncode for said in told] == [0, 2, 2]


def test_a_failed_run_leaves_an_earlier_result_alone(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "out.png").write_bytes(b"earlier")
    refused(run("fuse", pair[0], tmp_path / "missing.png", "-o", tmp_path / "out.png"))
    assert (tmp_path / "out.png").read_bytes() == b"earlier"
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png", "out.png"]


def test_palette_alpha_cmyk_and_one_bit_are_converted_with_notes(scene: NDArray[np.uint8], tmp_path: Path) -> None:
    picture = Image.fromarray(scene)
    picture.convert("P").save(tmp_path / "palette.png")
    rgba = picture.convert("RGBA")
    rgba.putalpha(128)
    rgba.save(tmp_path / "alpha.png")
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg")
    picture.convert("1").save(tmp_path / "bits.png")
    for a, b in (("palette.png", "alpha.png"), ("cmyk.jpg", "bits.png")):
        done = run("fuse", tmp_path / a, tmp_path / b, "-o", tmp_path / "out.png", "--align", "off", "--json")
        assert done.returncode == 0
        notes = json.loads(done.stdout)["notes"]
        assert [note.split(":")[0] for note in notes] == [a, b]


def test_what_is_not_there_is_an_error(pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    assert "no weights are named" in refused(run("fuse", *pair, "-o", out, "--weights", "huge"))
    assert "runs on 'cpu'" in refused(run("fuse", *pair, "-o", out, "--engine", "openvino", "--device", "cuda"))
    assert not out.exists()


def test_debug_keeps_the_traceback(pair: tuple[Path, Path], tmp_path: Path) -> None:
    done = run("--debug", "fuse", *pair, "-o", tmp_path / "none" / "out.png")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_training_on_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    line = refused(run_here("train", tmp_path / "photos", "-o", tmp_path / "run"))
    assert "no photographs in" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--devices", "0"], "with 0 devices cannot be used here"),
        (["--devices", "abc"], "with 'abc' devices cannot be used here"),
        (["--accelerator", "nope"], "accelerator 'nope' with 1 devices cannot be used here"),
    ],
)
def test_training_on_devices_that_are_not_there(tmp_path: Path, options: list[str], said: str) -> None:
    write(tmp_path / "a.png", from_array(data.astronaut()))
    assert said in refused(run_here("train", tmp_path, "-o", tmp_path / "run", *options))
    assert "is a file; expected a folder" in refused(run_here("train", tmp_path, "-o", tmp_path / "a.png"))


def test_a_library_that_cannot_be_loaded_is_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "broken")}
    command = [sys.executable, "-m", "defusion", "metrics", *map(str, (*pair, pair[0]))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "cv2 is installed, but cannot be loaded (libGL.so.1: cannot open shared object file)" in refused(done)


def test_a_foreign_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "theirs.pth").write_bytes(b"junk")
    line = refused(run("weights", "convert", tmp_path / "theirs.pth", "-o", tmp_path / "ours.safetensors"))
    assert "not a PyTorch file" in line
    assert not (tmp_path / "ours.safetensors").exists()
