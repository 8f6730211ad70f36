"""Sources and results in an object store that is started here."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

import defusion
from defusion import BatchError
from defusion.batch import SceneResult
from defusion.batch.journal import Journal
from defusion.batch.places import listed, local_copies, matching, remote, stamp
from defusion.batch.result_folder import result_folder_of
from defusion.system.cache import cache_folder

from .conftest import made_scenes, pictures

pytest.importorskip("flask_cors", reason="the object store needs moto, flask and flask-cors")
pytest.importorskip("s3fs", reason="s3:// needs s3fs")
moto = pytest.importorskip("moto.server", reason="the object store is moto's")

#: Of buckets: all servers of a process have one store.
NUMBERS = count()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket in an object store, empty."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    name = f"bucket-{next(NUMBERS)}"
    remote("s3://")[0].clear_instance_cache()
    remote("s3://")[0].mkdir(name)
    yield f"s3://{name}"
    remote("s3://")[0].clear_instance_cache()
    server.stop()


def results(sources: str | Path, output: str, **options: object) -> dict[str, SceneResult]:
    return {each.scene: each for each in defusion.batch(sources, output, workers=1, align="off", **options)}  # type: ignore[arg-type]


def test_sources_and_results_in_a_bucket(store: str, tmp_path: Path) -> None:
    made_scenes(tmp_path / "root", 4)
    results(tmp_path / "root", str(tmp_path / "plain"))
    system, _ = remote(store)
    system.put(f"{tmp_path}/root/", f"{store}/in/", recursive=True)
    (tmp_path / "root" / "scene003" / "over.png").write_bytes(b"no picture")
    system.put_file(str(tmp_path / "root" / "scene003" / "over.png"), f"{store}/in/scene003/over.png")
    assert sorted(listed(f"{store}/in").folders) == ["scene000", "scene001", "scene002", "scene003"]
    assert len(matching(f"{store}/in/*/over.png")) == 4

    first = results(f"{store}/in", f"{store}/out")
    assert [each.status for each in first.values()].count("done") == 3
    assert first["scene000"].output == f"{store}/out/scene000.png"
    reason = first["scene003"].reason or ""
    assert reason.startswith(f"{store}/in/scene003/over.png is not a picture")  # not what the copy is called
    plain = pictures(tmp_path / "plain")
    for name in ("scene000.png", "scene001.png", "scene002.png"):
        assert system.cat_file(f"{store}/out/{name}") == plain[name]
    assert "3 done, 1 failed" in system.cat_file(f"{store}/out/report.html").decode()
    assert list(cache_folder("copies").iterdir()) == []

    system.rm_file(f"{store}/out/scene001.png")
    system.put_file(str(tmp_path / "root" / "scene000" / "over.png"), f"{store}/in/scene003/over.png")
    again = results(f"{store}/in", f"{store}/out")
    assert [again[f"scene00{number}"].status for number in range(4)] == ["skipped", "done", "skipped", "done"]


def test_a_result_whose_batch_was_killed_is_not_made_again(store: str, tmp_path: Path) -> None:
    """Who is killed between a result and the journal leaves a record beside the result."""
    made_scenes(tmp_path / "root", 1)
    results(tmp_path / "root", f"{store}/out", journal=tmp_path / "one.sqlite")
    system, _ = remote(store)
    made = system.cat_file(f"{store}/out/scene000.png")
    folder = result_folder_of(f"{store}/out")
    with Journal(tmp_path / "one.sqlite") as journal:
        entry = journal.entry("scene000")
    assert entry is not None
    outcome = ["scene000", 12.5, entry.key, entry.sha256, entry.stamp, entry.facts, [], [], None, False, False, None]
    with folder.staged("scene000.png") as staged:
        staged.write_bytes(made)
        folder.publish(staged, "scene000.png", json.dumps(outcome))
    again = results(tmp_path / "root", f"{store}/out", journal=tmp_path / "two.sqlite")
    assert (again["scene000"].status, again["scene000"].seconds) == ("done", 12.5)
    assert folder.record("scene000.png") is None


def test_buckets_that_cannot_be_used(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_scenes(tmp_path / "root", 1)
    with pytest.raises(BatchError, match="s3://nobody/in was not found; check the spelling"):
        results("s3://nobody/in", str(tmp_path / "out"))
    with pytest.raises(BatchError, match="s3://nobody/out was not found"):
        results(tmp_path / "root", "s3://nobody/out")
    assert stamp(f"{store}/absent.png") == "absent"
    with pytest.raises(BatchError, match=r"absent\.png was not found"), local_copies([f"{store}/absent.png"]):
        pass

    def denied(*arguments: object, **options: object) -> None:
        raise PermissionError("Access Denied")

    system, _ = remote(store)
    monkeypatch.setattr(system, "ls", denied)
    with pytest.raises(BatchError, match=r"/in: access is denied \(Access Denied\)"):
        results(f"{store}/in", str(tmp_path / "out"))
    monkeypatch.setattr(system, "open", denied)
    with pytest.raises(BatchError, match="/out: access is denied"):
        results(tmp_path / "root", f"{store}/out")
