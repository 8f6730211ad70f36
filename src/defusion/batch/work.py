"""The work on one scene, in any process. Jobs and outcomes are small; pictures never travel."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import json
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from defusion.api.fuser import Fuser
from defusion.api.options import Options
from defusion.api.sources import AS_USUAL, Reading
from defusion.batch.places import local_copies, sha256
from defusion.batch.result_folder import ResultFolder, result_folder_of
from defusion.errors import DefusionError, EngineError, ImageError
from defusion.scene.rig import Rig
from defusion.system.files import unfit
from defusion.weights import WeightsFile, resolve

#: Longest side of a thumbnail, its quality, and WebP's effort: the usual 4 takes 1.8 times as long for 2 % less.
REPORT_THUMBNAIL_PX = 160
_QUALITY = 70
_EFFORT = 2

#: Number of networks that a process keeps loaded, for scenes with options of their own.
_NETWORKS = 4

_FULL = (errno.ENOSPC, errno.EDQUOT)


class SceneJob(NamedTuple):
    """A scene to be fused."""

    scene: str
    sources: tuple[str, ...]
    root: str
    """Folder or URL of the results."""
    file: str
    """File name of the result."""
    options: Options
    reading: Reading
    """How sources are read."""
    own_options: bool
    """Some options are for this scene alone."""
    settings: str
    """Hash of the options, the weights and the version."""
    known: tuple[str, str] | None
    """Key and SHA-256 of an earlier result that may still be valid."""
    with_thumbnails: bool


class JobOutcome(NamedTuple):
    """The outcome of a job."""

    scene: str
    seconds: float
    key: str | None = None
    sha256: str | None = None
    stamp: str | None = None
    facts: Mapping[str, Any] = {}
    notes: Sequence[str] = ()
    thumbnails: Sequence[str] = ()
    reason: str | None = None
    """Why it failed; None if it did not."""
    unchanged: bool = False
    """The earlier result is still valid."""
    memory_short: bool = False
    """Memory was too small; the scene may succeed in a process to itself."""
    ends_batch: str | None = None
    """Why all other scenes would fail, too: a network or engine is missing, the disk is full, or access is denied."""


def settings_of(options: Options, suffix: str, reading: Reading = AS_USUAL) -> str:
    """Returns a hash of everything that affects results, except the sources.

    Raises:
        WeightsError: The weights do not exist.
        ImageError: The rig does not exist.
    """
    given = options.given()
    weights = WeightsFile.open(resolve(given.pop("weights", None)))
    if options.rig is not None:
        given["rig"] = json.dumps(Rig.load(options.rig).facts())
    others = [sorted(given.items()), *([] if reading == AS_USUAL else [repr(reading)])]
    return hashlib.sha256(json.dumps([version("defusion"), suffix, weights.sha256, *others]).encode()).hexdigest()


def fuse_scene(job: SceneJob) -> JobOutcome:
    """Fuses a scene into its place, unless that is done already.

    Several threads may call it at once. It raises nothing but interruptions.
    """
    started = time.perf_counter()
    try:
        return _fuse_scene(job, result_folder_of(job.root), started)
    except DefusionError as error:
        failed = JobOutcome(job.scene, _since(started), reason=str(error))
        return failed._replace(memory_short=isinstance(error, EngineError), ends_batch=_ends_batch(error))
    except MemoryError as error:
        reason = f"there is too little memory ({error})"
        return JobOutcome(job.scene, _since(started), reason=reason, memory_short=True)
    except Exception as error:
        return JobOutcome(job.scene, _since(started), reason=f"unexpected {type(error).__name__}: {error}")


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)


def _fuse_scene(job: SceneJob, results: ResultFolder, started: float) -> JobOutcome:
    with local_copies(job.sources) as files:
        key = hashlib.sha256(" ".join([job.settings, *map(sha256, files)]).encode()).hexdigest()
        if job.known and job.known == (key, results.sha256(job.file)):
            return JobOutcome(job.scene, _since(started), key, job.known[1], results.stamp(job.file), unchanged=True)
        if done := _recorded(job, results, key):
            return done
        try:
            fuser = loaded(job.options)
        except DefusionError as error:
            of_all = None if job.own_options else str(error)
            return JobOutcome(job.scene, _since(started), reason=str(error), ends_batch=of_all)
        if reason := unfit(results.path(job.file), files):
            raise ImageError(f"{results.path(job.file)} {reason}.")
        with results.staged(job.file) as staged:
            small = 2 * REPORT_THUMBNAIL_PX if job.with_thumbnails else None
            made = fuser.fuse_files(files, staged, reading=job.reading, thumbnail_px=small, **job.options.of_scene())
            facts = {name: fact for name, fact in made.facts.items() if name not in ("output", "notes")}
            thumbnails = [_encoded(samples) for samples in made.thumbnails]
            digest, stamp = sha256(staged), results.stamp_of(staged)
            outcome = JobOutcome(job.scene, _since(started), key, digest, stamp, facts, made.notes, thumbnails)
            results.publish(staged, job.file, json.dumps(outcome))
    return outcome


def _recorded(job: SceneJob, results: ResultFolder, key: str) -> JobOutcome | None:
    """Returns the outcome of a scene that was finished but not recorded in the journal."""
    record = results.record(job.file)
    if record is None:
        return None
    outcome = JobOutcome(*json.loads(record))
    good = outcome.key == key and outcome.sha256 == results.sha256(job.file)
    return outcome if good else None


_lock = threading.Lock()
_fusers: dict[Options, Fuser] = {}


def loaded(options: Options) -> Fuser:
    """Returns this process's network for some options. It is loaded once, however the other options differ.

    Raises:
        DefusionError: As for `Fuser`.
    """
    network = options.network()
    with _lock:
        if network not in _fusers:
            if len(_fusers) == _NETWORKS:
                _fusers.pop(next(iter(_fusers)))
            _fusers[network] = Fuser(network)
        return _fusers[network]


def _encoded(pixels: NDArray[np.uint8]) -> str:
    """Returns a thumbnail as WebP in base64."""
    small = Image.fromarray(pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels)
    small.thumbnail((REPORT_THUMBNAIL_PX, REPORT_THUMBNAIL_PX))
    data = io.BytesIO()
    small.save(data, "WEBP", quality=_QUALITY, method=_EFFORT)
    return base64.b64encode(data.getvalue()).decode()


def _ends_batch(error: BaseException) -> str | None:
    """Returns why an error will hit all scenes; None if it may not."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return str(error)
        cause = cause.__cause__
    return None
