"""A table of how published data sets are laid out on disk, and of the words that name the roles of sources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from defusion.errors import EvaluationError
from defusion.evaluation.results import DataSetKind

#: Parts into which data sets are split for training. Folders with these names are neither scenes nor roles.
SPLITS = ("test", "train", "val", "valid", "validation", "trainval")

VISIBLE = "(visible|visual|vis|vi|rgb|color|colour)"
INFRARED = "(infrared|thermal|lwir|mwir|swir|nir|tir|fir|ir|th|t)"

ROLES: tuple[tuple[DataSetKind, str, str], ...] = (
    ("exposure", "under", "over"),
    ("focus", "near", "far"),
    ("infrared", VISIBLE, INFRARED),
    ("medical", "mri", "(ct|pet|spect)"),
)
"""For each kind of scene: the words for its first and its second source."""

_TRUTH = "gt"


class Layout(NamedTuple):
    """Where a data set has its pictures.

    Patterns match paths below the data set's folder, without suffixes; case does not matter. `{scene}` stands for a
    name, `{folders}` for one or more nested names, `{above}` for any number of folders and their last `/`. What these
    match becomes the name of the scene. `*` matches anything within a name, `(a|b)` one of these.
    """

    data_set: str
    """Name of the data set, as in `NAME:FOLDER`; `plain` for folders that belong to no published data set."""
    kind: DataSetKind
    sources: tuple[str, ...]
    """Patterns of the two sources, or one pattern that matches all frames of a scene."""
    truth: str | None = None
    inside: tuple[str, ...] = ("",)
    """Folders in which the patterns may start."""

    @property
    def of_frames(self) -> bool:
        """Its sources have no roles; the first and the last frame are used."""
        return len(self.sources) == 1

    @property
    def vague(self) -> bool:
        """It matches many folders, so the user or the folder's name has to name the data set."""
        return self.data_set != "plain" and (self.of_frames or self.sources[0].startswith("{folders}"))


LAYOUTS: tuple[Layout, ...] = (
    *(Layout("plain", kind, (f"{{scene}}/{a}", f"{{scene}}/{b}"), "{scene}/gt") for kind, a, b in ROLES),
    # MEFB and VIFB: github.com/xingchenzhang; MFIFB, for focus, is there, too.
    Layout("mefb", "exposure", ("{scene}/*",), inside=("input", "")),
    Layout("mfifb", "focus", ("{scene}/*_a", "{scene}/*_b"), inside=("input", "")),
    Layout("vifb", "infrared", ("vi/{scene}", "ir/{scene}"), inside=("input", "")),
    # SICE: github.com/csjcai/SICE, frames numbered from dark to bright.
    Layout("sice", "exposure", ("{scene}/*",), "label/{scene}", inside=("", "dataset_part2", "dataset_part1")),
    # Real-MFF: github.com/Zancelot/Real-MFF.
    Layout("realmff", "focus", ("imagea/{scene}_a", "imageb/{scene}_b"), "fusion/{scene}_f"),
    # Lytro: Nejati, Samavi and Shirani 2015. Its series of three pictures is in a folder of its own.
    Layout("lytro", "focus", ("{scene}-a", "{scene}-b")),
    # MFI-WHU: github.com/HaoZhang1018/MFI-WHU.
    Layout("mfiwhu", "focus", ("source_1/{scene}", "source_2/{scene}"), "full_clear/{scene}"),
    # MFFW: Xu et al. 2020.
    Layout("mffw", "focus", ("{scene}_a", "{scene}_b")),
    # TNO: figshare 1008029. Cameras, scenes and views are folders. Many copies have two folders, as in the plain
    # layout.
    Layout("tno", "infrared", ("{folders}/*vis*", "{folders}/*ir*")),
    # RoadScene: github.com/hanna-xu/RoadScene. Its crop_HR_visible does not line up with the infrared pictures.
    Layout("roadscene", "infrared", ("crop_lr_visible/{scene}", "cropinfrared/{scene}")),
    # MSRS: github.com/Linfeng-Tang/MSRS. Methods are measured on the test part.
    Layout("msrs", "infrared", ("vi/{scene}", "ir/{scene}"), inside=("test", "")),
    # M3FD: github.com/JinyuanLiu-CV/TarDAL.
    Layout("m3fd", "infrared", ("vis/{scene}", "ir/{scene}"), inside=("m3fd_fusion", "")),
    # LLVIP: github.com/bupt-ai-cz/LLVIP. Methods are measured on the test part.
    Layout("llvip", "infrared", ("visible/test/{scene}", "infrared/test/{scene}")),
    # KAIST: github.com/SoonminHwang/rgbt-ped-detection. Sets, sequences, and a folder for each camera.
    Layout("kaist", "infrared", ("{folders}/visible/{scene}", "{folders}/lwir/{scene}")),
    # FLIR ADAS: the aligned copy of Zhang et al. 2020, and the parts of version 1, which are not aligned.
    Layout("flir", "infrared", ("{scene}_rgb", "{scene}_previewdata"), inside=("jpegimages", "")),
    Layout("flir", "infrared", ("rgb/{scene}", "thermal_8_bit/{scene}"), inside=("", "val")),
    # VEDAI: Razakarivony and Jurie 2016.
    Layout("vedai", "infrared", ("{scene}_co", "{scene}_ir"), inside=("", "vehicules512", "vehicules1024")),
    # Harvard's atlas: github.com/xianming-gu/Havard-Medical-Image-Fusion-Datasets, one set for each folder.
    *(
        Layout(f"{other}mri", "medical", ("mri/{scene}", f"{other}/{{scene}}"), inside=("", "test"))
        for other in ("ct", "pet", "spect")
    ),
    *(Layout("plain", kind, (f"{a}/{{folders}}", f"{b}/{{folders}}"), "gt/{folders}") for kind, a, b in ROLES),
    # Flat folders, as some copies of TNO have them: IR1 and VIS1, 1_ir and 1_vis.
    *(
        Layout("plain", kind, (f"{a}(_|-|){{scene}}", f"{b}(_|-|){{scene}}"), "gt(_|-|){scene}")
        for kind, a, b in ROLES
    ),
    *(Layout("plain", kind, (f"{{scene}}(_|-){a}", f"{{scene}}(_|-){b}"), "{scene}(_|-)gt") for kind, a, b in ROLES),
    Layout("plain", "other", ("{scene}/*",), "{scene}/gt"),
)
NAMES = tuple(dict.fromkeys(layout.data_set for layout in LAYOUTS))


#: Words for roles at any depth, used if nothing nearer to the top matches.
DEEP: tuple[Layout, ...] = tuple(
    Layout("plain", kind, (f"{{above}}{a}/{{folders}}", f"{{above}}{b}/{{folders}}"), "{above}gt/{folders}")
    for kind, a, b in ROLES
)


def layout_of_roles(roles: Mapping[str, str]) -> Layout:
    """Returns the layout for folders whose roles the user named.

    Args:
        roles: Two roles with their folders, and optionally `gt`, such as `{"ir": "T", "vis": "RGB"}`. A folder may be
            at any depth; a pattern with `{scene}` is allowed, too.

    Raises:
        EvaluationError: There are not two roles, or both have one folder.
    """
    truth = roles.get(_TRUTH)
    sources = {role: place for role, place in roles.items() if role != _TRUTH}
    if len(sources) != 2 or len(set(sources.values()) - {""}) != 2:
        raise EvaluationError(
            f"roles {', '.join(f'{role}={place}' for role, place in roles.items()) or 'none'} came; expected two "
            "roles with different folders, as in ir=T,vis=RGB, and gt if there is ground truth"
        )
    kind: DataSetKind = "other"
    for each, a, b in ROLES:
        order = [next((role for role in sources if named(role, word)), None) for word in (a, b)]
        if order[0] and order[1]:
            kind, sources = each, {role: sources[role] for role in order if role}
    patterns = tuple(_placed(place) for place in sources.values())
    return Layout("plain", kind, patterns, None if truth is None else _placed(truth))


def is_role(name: str) -> bool:
    """Says whether a folder's name is a word for a role."""
    return any(named(name, word) for _, *words in ROLES for word in words)


def named(name: str, pattern: str) -> bool:
    """Says whether a name matches a pattern without scenes; case does not matter."""
    return expression(pattern).fullmatch(name) is not None


@cache
def expression(pattern: str) -> re.Pattern[str]:
    """Compiles a pattern of a `Layout`."""
    parts = re.split(r"(\{scene\}|\{folders\}|\{above\}|\\.|[*()|])", pattern)
    written = {
        "{scene}": "(?P<scene>[^/]+)",
        "{folders}": "(?P<folders>.+)",
        "{above}": "(?P<above>(?:.+/)?)",
        "*": "[^/]*",
        "(": "(?:",
        ")": ")",
        "|": "|",
    }
    plain = (written.get(part) or re.escape(part.removeprefix("\\")) for part in parts)
    return re.compile("".join(plain), re.IGNORECASE)


def literal(name: str) -> str:
    """Returns the pattern that matches this name only."""
    return re.sub(r"([*()|\\])", r"\\\1", name)


def scene_of(fit: re.Match[str]) -> str:
    """Returns the name of the scene of a path that matched a pattern: folders, then the file."""
    return "/".join(part.strip("/") for part in fit.groups() if part)


def _placed(place: str) -> str:
    place = place.strip("/")
    return place if "{scene}" in place else f"{{above}}{literal(place)}/{{folders}}"
