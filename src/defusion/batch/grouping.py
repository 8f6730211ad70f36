"""Divides a camera card into scenes: brackets, focus stacks and single frames. It uses EXIF first, then the pictures.

Frames are sorted by time, or by name if a time is missing. A frame belongs to the scene before it if the same camera
took it soon after, it shows the same things, and it is the next step of a series: its exposure differs from all
frames so far, or its exposure is the same and its focus differs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.batch.capture import Capture, captured
from defusion.batch.places import is_url, joined, listed, stamp
from defusion.batch.scenes import BatchScene, is_picture, natural
from defusion.errors import BatchError, ImageError
from defusion.system.machine import cores

GroupKind = Literal["bracket", "focus", "single"]
Where = tuple[slice, slice]
Tones = NDArray[np.float32]

#: Most seconds between the end of a frame and the next one of its scene: for a camera that takes a series by itself,
#: and for a photographer who turns the focus ring in between.
SERIES_S = 2.0
BY_HAND_S = 20.0

#: Rank correlation of small pictures above which frames show the same things: if the camera's clock says that they
#: are a series, and if it does not.
ALIKE_IN_SERIES = 0.6
ALIKE = 0.9

#: Least difference between two exposures, in stops. Cameras step by thirds.
STEP_EV = 0.3

#: Least difference between two focus distances, as a fraction of the nearer.
STEP_FOCUS = 0.01

#: How much some parts gain in sharpness over others when the focus moves, as a natural logarithm. Synthetic stacks
#: measured .07 and more, bursts from a shaking hand .06 and less.
STEP_SHARPNESS = 0.065

#: Number of parts across and down that are compared; and the mean squares that count as no detail and as plenty.
_PARTS = 4
_NO_DETAIL, _MUCH_DETAIL = 1e-4, 3e-3

#: Share of places that two frames both have to show before their likeness is judged.
_SHOWN = 0.05

#: Number of earlier frames that a frame is compared with. Exposures far apart have little in common.
_COMPARED = 8

#: Tones between these are neither black nor white.
_BLACK, _WHITE = 0.02, 0.98

#: Gamma by which files encode light.
_GAMMA = 2.2


class Group(NamedTuple):
    """Frames of a card that belong together."""

    name: str
    kind: GroupKind
    frames: tuple[str, ...]
    why: str

    @property
    def scene(self) -> BatchScene:
        """The group as a scene."""
        return BatchScene(self.name, self.frames)


class FrameLook(NamedTuple):
    """What was learned from looking at a frame."""

    capture: Capture | None
    """None if none of its files can be read."""
    notes: tuple[str, ...]


class Card(NamedTuple):
    """A folder of frames, divided into scenes."""

    groups: list[Group]
    notes: tuple[str, ...]
    """Which files were skipped, and why."""


def divided(folder: str, seen: dict[str, FrameLook] | None = None) -> Card:
    """Divides a folder of frames into scenes.

    Args:
        folder: A folder of this machine.
        seen: What was learned from frames before; new frames are added to it.

    Raises:
        BatchError: The folder is a URL, or does not exist.
    """
    if is_url(folder):
        raise BatchError(
            f"{folder} is a URL, but frames have to be looked at to be divided: copy it to this machine first"
        )
    by_stem: dict[str, list[str]] = defaultdict(list)
    for file in sorted(filter(is_picture, listed(folder).files), key=natural):
        by_stem[Path(file).stem].append(joined(folder, file))
    seen = {} if seen is None else seen
    frames = {" ".join(f"{file} {stamp(file)}" for file in files): files for files in by_stem.values()}
    with ThreadPoolExecutor(cores()) as threads:
        new = {key: threads.submit(_look, files) for key, files in frames.items() if key not in seen}
        seen.update((key, look.result()) for key, look in new.items())
    looks = [seen[key] for key in frames]
    notes = tuple(note for look in looks for note in look.notes)
    return Card(groups_of(look.capture for look in looks if look.capture is not None), notes)


def _look(files: Sequence[str]) -> FrameLook:
    """Looks at a frame that may have several files. The first that can be read stands for it."""
    notes = []
    for number, file in enumerate(files):
        try:
            capture = captured(file)
        except ImageError as error:
            notes.append(f"skipped: {error}")
            continue
        first = Path(file).name
        notes += [f"{Path(other).name}: skipped, {first} is the same frame" for other in files[number + 1 :]]
        return FrameLook(capture, tuple(notes))
    return FrameLook(None, tuple(notes))


def groups_of(captures: Iterable[Capture]) -> list[Group]:
    """Divides frames, which are given in the order of their names."""
    frames = list(captures)
    if all(frame.time_s is not None for frame in frames):
        frames.sort(key=lambda frame: frame.time_s or 0.0)
    groups: list[list[Capture]] = []
    for frame in frames:
        if groups and _goes_on(groups[-1], frame):
            groups[-1].append(frame)
        else:
            groups.append([frame])
    return [_named(group) for group in groups]


def _named(group: Sequence[Capture]) -> Group:
    files = tuple(frame.file for frame in group)
    name = Path(files[0]).stem
    if len(group) == 1:
        return Group(name, "single", files, "it is in no series with the frame before or after it")
    steps = [_stops(group[0], frame) for frame in group]
    if _is_bracket(group):
        return Group(
            name, "bracket", files, f"exposures from {min(steps):+.1f} to {max(steps):+.1f} EV relative to the first"
        )
    distances = [frame.focus_m for frame in group if frame.focus_m is not None]
    if len(distances) == len(group) and max(distances) > min(distances):
        return Group(name, "focus", files, f"focused from {distances[0]:.2f} to {distances[-1]:.2f} m")
    return Group(name, "focus", files, "equal exposure, but each is sharp elsewhere")


def _goes_on(group: Sequence[Capture], frame: Capture) -> bool:
    """Says whether a frame is the next one of a scene."""
    last = group[-1]
    if frame.size != last.size or frame.camera != last.camera:
        return False
    alike = ALIKE
    if frame.time_s is not None and last.time_s is not None:
        gap = frame.time_s - last.time_s - (last.exposure_s or 0)
        if gap > BY_HAND_S:
            return False
        if gap <= SERIES_S:
            alike = ALIKE_IN_SERIES
    likeness = [each for each in (_likeness(other, frame) for other in group[-_COMPARED:]) if each is not None]
    if max(likeness, default=1.0 if alike == ALIKE_IN_SERIES else 0.0) < alike:
        return False
    steps = [abs(_stops(other, frame)) >= STEP_EV for other in group]
    if all(steps):
        return len(group) == 1 or _is_bracket(group)
    return not any(steps) and not _is_bracket(group) and _focus_goes_on(group, frame)


def _is_bracket(group: Sequence[Capture]) -> bool:
    return len(group) > 1 and abs(_stops(group[0], group[1])) >= STEP_EV


def _focus_goes_on(group: Sequence[Capture], frame: Capture) -> bool:
    """Says whether the focus is the next step of a stack: neither that of the frame before nor that of the first
    frame again.
    """
    first, last = group[0], group[-1]
    way, step = _focus_step(first, last), _focus_step(last, frame)
    if step:
        return way * step >= 0
    moved = _focus_moved(last, frame)
    return moved >= STEP_SHARPNESS and (len(group) < 3 or _focus_moved(first, frame) >= moved / 2)


def _focus_step(a: Capture, b: Capture) -> int:
    """Returns which way the focus was moved, if the camera tells: 1 farther, -1 nearer, 0 not at all."""
    if a.focus_m is None or b.focus_m is None or abs(a.focus_m - b.focus_m) <= STEP_FOCUS * min(a.focus_m, b.focus_m):
        return 0
    return 1 if b.focus_m > a.focus_m else -1


def _focus_moved(a: Capture, b: Capture) -> float:
    """Returns how much some parts gained in sharpness over others. Blur everywhere, such as camera shake, does not
    count.
    """
    parts = _same_places(a.tones, b.tones)
    fine, coarse = (
        [_in_parts(plane[part]) for plane, part in zip(planes, parts, strict=True)]
        for planes in ((a.fine, b.fine), (a.coarse, b.coarse))
    )
    sharper = np.log((fine[1] + _NO_DETAIL) / (fine[0] + _NO_DETAIL))
    sharper -= np.log((coarse[1] + _NO_DETAIL) / (coarse[0] + _NO_DETAIL))
    seen = np.minimum(*coarse)
    weights = seen / (seen + _MUCH_DETAIL)
    if not weights.any():
        return 0.0
    return float(np.sqrt(np.average((sharper - np.average(sharper, weights=weights)) ** 2, weights=weights)))


def _in_parts(plane: Tones) -> Tones:
    """Returns means of overlapping parts. They fade out at the sides, where a moving camera sees new things."""
    for _ in range(2):
        centres = np.linspace(len(plane) / _PARTS, len(plane) * (1 - 1 / _PARTS), 2 * _PARTS - 3)[:, np.newaxis]
        near = np.maximum(1 - np.abs(np.arange(len(plane)) - centres) * _PARTS / len(plane), 0)
        plane = (near @ plane / near.sum(1, keepdims=True)).T
    return plane


def _same_places(a: Tones, b: Tones) -> tuple[Where, Where]:
    """Returns where two pictures show the same if the camera moved, by phase correlation; all of both if it moved
    far.
    """
    window = np.outer(*(np.hanning(side) for side in a.shape))
    first, second = (np.fft.rfft2((plane - plane.mean()) * window) for plane in (a, b))
    product = first * second.conj()
    peaks = np.fft.irfft2(product / (np.abs(product) + np.finfo(np.float32).tiny), s=a.shape)
    found = np.unravel_index(peaks.argmax(), a.shape)
    moved = [(int(at) + side // 2) % side - side // 2 for at, side in zip(found, a.shape, strict=True)]
    if any(abs(by) > side // 8 for by, side in zip(moved, a.shape, strict=True)):
        moved = [0, 0]
    down, across = (
        (slice(max(by, 0), side + min(by, 0)), slice(max(-by, 0), side + min(-by, 0)))
        for by, side in zip(moved, a.shape, strict=True)
    )
    return (down[0], across[0]), (down[1], across[1])


def _stops(a: Capture, b: Capture) -> float:
    """Returns how many stops more light the second frame got, by the camera's settings or else by the pictures."""
    told = [(a.exposure_ev, b.exposure_ev), (a.bias_ev, b.bias_ev)]
    steps = [after - before for before, after in told if before is not None and after is not None]
    if steps:
        return max(steps, key=abs)
    seen = _shown_by_both(a, b)
    if seen is not None:
        return _GAMMA * float(np.log2(np.median(seen[1] / seen[0])))
    return _GAMMA * float(np.log2((b.tones.mean() + _BLACK) / (a.tones.mean() + _BLACK)))


def _likeness(a: Capture, b: Capture) -> float | None:
    """Returns the rank correlation of what both frames show, which does not depend on exposure; None if that is too
    little.
    """
    seen = _shown_by_both(a, b)
    if seen is None:
        return None
    a_ranks, b_ranks = (tones.argsort().argsort() for tones in seen)
    return float(np.corrcoef(a_ranks, b_ranks)[0, 1])


def _shown_by_both(a: Capture, b: Capture) -> tuple[Tones, Tones] | None:
    """Returns the tones of two frames where neither is black or white; None if there are few such places."""
    parts = _same_places(a.tones, b.tones)
    first, second = a.tones[parts[0]], b.tones[parts[1]]
    shown = (np.minimum(first, second) > _BLACK) & (np.maximum(first, second) < _WHITE)
    return (first[shown], second[shown]) if shown.mean() >= _SHOWN else None
