"""Recipes: everything that decides what training makes, in one frozen place."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from defusion.errors import TrainingError
from defusion.model.config import CONFIGS, SIZE_MULTIPLE, PyramidConfig
from defusion.model.pyramid import levels_of
from defusion.pretext import Pretext

#: Smallest crops whose structure is measured at all scales.
LEAST_PYRAMID_PX = 72


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are the paper's (section 3.3), except `fade_steps` and `residual_scale`.

    The paper says nothing of how its network starts. With torch's own start and the ReLU that ends each head, 3 to 6
    of the 9 colours of the heads were zero everywhere after 200 steps, and a zero behind a ReLU learns nothing more.
    """

    name: str = "paper"
    network: str = "released"
    """`pyramid`, or a layout of the paper's network by its name in `defusion.model.CONFIGS`."""
    part: Literal["all", "close", "rest"] = "all"
    """What is trained. `close` is the close look of the pyramid network alone, `rest` all but that."""
    pretext: Pretext = field(default_factory=Pretext)
    epochs: float = 50
    """Passes over the photographs."""
    batch: int = 8
    """Scenes a step, on each device."""
    crop_px: int = 256
    crop_area: tuple[float, float] = (0.08, 1.0)
    """Share of a photograph's area that a crop is cut from, before it is scaled to `crop_px`."""
    learning_rate: float = 1e-3
    schedule: Literal["halving", "cooldown"] = "halving"
    """`halving`: by half each 10 epochs. `cooldown`: warm-up, constant, then down to zero."""
    warmup_steps: int = 0
    cooldown: float = 0.3
    """Share of the steps over which `cooldown` brings the rate to zero."""
    fade_steps: int = 1500
    """Number of steps over which the weight of places where a part is absent goes from the first number of `absent`
    to the second, so that the unique heads do not collapse to zero. With 0, it is the second from the start.
    """
    absent: tuple[float, float] = (0.05, 1.0)
    """Weight of such a place in that part's error, at first and later."""
    fused_from: float = 0.0
    """Share of the steps before the error of the fused picture counts; it fades in over a tenth of the steps."""
    clip_norm: float | None = None
    """Largest norm of the gradient; None does not clip."""
    ema_decay: float = 0.999
    residual_scale: float | None = 0.2
    """Scale of each residual branch before training. Layers then start as in He et al. 2015, and heads at mid grey.
    None keeps torch's own start.
    """
    seed: int = 0

    def __post_init__(self) -> None:
        networks = (PyramidConfig().name, *CONFIGS)
        if self.network not in networks:
            raise TrainingError(f"recipe {self.name!r}: no network {self.network!r}; expected {', '.join(networks)}")
        for name in ("batch", "crop_px", "warmup_steps", "fade_steps", "seed"):
            if not isinstance(getattr(self, name), int):
                raise TrainingError(
                    f"recipe {self.name!r}: {name} is {getattr(self, name)!r}; expected a whole number"
                )
        if self.crop_px < 32 or self.crop_px % SIZE_MULTIPLE:
            raise TrainingError(
                f"recipe {self.name!r}: crop_px is {self.crop_px}; expected a multiple of {SIZE_MULTIPLE} from 32 up"
            )
        halvings = levels_of(self.crop_px, self.crop_px)
        if self.network == PyramidConfig().name and (self.crop_px < LEAST_PYRAMID_PX or self.crop_px % 2**halvings):
            raise TrainingError(
                f"recipe {self.name!r}: crop_px is {self.crop_px}; the pyramid network expects {LEAST_PYRAMID_PX} or "
                "more that can be halved for each of its levels, such as 128, 192 or 256"
            )
        if self.part not in ("all", "close", "rest"):
            raise TrainingError(f"recipe {self.name!r}: part {self.part!r}; expected 'all', 'close' or 'rest'")
        if self.part != "all" and self.network != PyramidConfig().name:
            raise TrainingError(
                f"recipe {self.name!r}: part {self.part!r} of network {self.network!r}; only the pyramid network has "
                "such parts"
            )
        if self.schedule not in ("halving", "cooldown"):
            raise TrainingError(f"recipe {self.name!r}: schedule {self.schedule!r}; expected 'halving' or 'cooldown'")
        if min(self.epochs, self.batch, self.learning_rate) <= 0:
            raise TrainingError(f"recipe {self.name!r}: epochs, batch and learning_rate must be above zero")
        if len(self.crop_area) != 2 or not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise TrainingError(f"recipe {self.name!r}: crop_area is {self.crop_area}; expected 0 < low <= high <= 1")
        if len(self.absent) != 2 or not 0 <= min(self.absent) <= max(self.absent) <= 1:
            raise TrainingError(f"recipe {self.name!r}: absent is {self.absent}; expected two numbers in [0, 1]")
        if not 0 <= self.fused_from < 1:
            raise TrainingError(f"recipe {self.name!r}: fused_from is {self.fused_from}; expected a share below one")

    def learning_rate_at(self, step: int, steps: int, steps_per_epoch: float) -> float:
        """Returns the learning rate of a step, counted from zero, of `steps` in all."""
        if self.schedule == "halving":
            return self.learning_rate * 0.5 ** int(step / steps_per_epoch / 10)
        warm = min(1.0, (step + 1) / max(self.warmup_steps, 1))
        left = (steps - step) / max(self.cooldown * steps, 1)
        return self.learning_rate * min(warm, 1.0, left)

    def absent_weight(self, step: int) -> float:
        """Returns how much a place counts where a part is absent: goes from one of `absent` to the other."""
        first, later = self.absent
        if step >= self.fade_steps:
            return later
        return first + (later - first) * (1 - math.cos(math.pi * step / self.fade_steps)) / 2

    def fused_weight(self, step: int, steps: int) -> float:
        """Returns how much the error of the fused picture counts in a step of `steps` in all."""
        if self.fused_from == 0:
            return 1.0
        return min(max(10 * (step / steps - self.fused_from), 0.0), 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON; `from_dict` takes it back."""
        data = asdict(self)
        data["pretext"]["distortions"] = dict(self.pretext.distortions)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """Builds a recipe from what `to_dict` gave or a TOML file says."""
        unknown = set(data) - {each.name for each in fields(cls)}
        if unknown:
            raise TrainingError(
                f"a recipe has no {', '.join(sorted(unknown))}; it has {', '.join(each.name for each in fields(cls))}"
            )
        try:
            changes: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
            }
            if "pretext" in changes:
                given = dict(changes["pretext"])
                if isinstance(given.get("jitter"), list):
                    given["jitter"] = tuple(given["jitter"])
                changes["pretext"] = Pretext(**given)
            return cls(**changes)
        except TypeError as error:
            raise TrainingError(f"a recipe's value is of the wrong kind: {error}") from error


_PYRAMID = Recipe(
    name="pyramid",
    network="pyramid",
    epochs=20,
    batch=10,
    crop_px=128,
    crop_area=(0.12, 0.95),
    learning_rate=3e-3,
    schedule="cooldown",
    warmup_steps=100,
    cooldown=0.4,
    clip_norm=1.0,
    ema_decay=0.998,
)

#: `pyramid` trains the network that makes every picture, on `defusion.pretext.mixed`; its `pretext` is not used.
#: `close` trains its close look alone; a step takes half as long.
#: `paper` is the paper's, with the start that `Recipe` describes. `authors` has what the authors' training does
#: beyond the text: dimmed scenes, cells of two sizes, absent places that hardly count, a fused picture that is
#: learned late. `quick` trains a small version of the paper's network, with other faults of real sources besides
#: noise.
RECIPES: dict[str, Recipe] = {
    "pyramid": _PYRAMID,
    "close": replace(_PYRAMID, name="close", part="close", epochs=10, learning_rate=2.5e-3, cooldown=0.75),
    "paper": Recipe(),
    "authors": Recipe(
        name="authors",
        network="deep",
        pretext=Pretext(even=True, jitter=(0.1, 1.0)),
        absent=(0.0, 0.015),
        fused_from=0.5,
    ),
    "quick": Recipe(
        name="quick",
        network="small",
        pretext=Pretext(
            distortions={
                "noise": 0.25,
                "faint_noise": 0.08,
                "defocus": 0.4,
                "underexpose": 0.08,
                "overexpose": 0.08,
                "fog": 0.05,
                "zeros": 0.06,
            },
            freeform=0.4,
            bracketed=0.2,
            crossed=0.1,
            grainy=0.2,
            layered=0.2,
            grey=0.15,
        ),
        epochs=9,
        crop_px=128,
        crop_area=(0.12, 0.8),
        schedule="cooldown",
        warmup_steps=200,
        clip_norm=1.0,
    ),
}


def load_recipe(name: str) -> Recipe:
    """Returns a recipe by its name in `RECIPES`, or from a TOML file of a `Recipe`'s fields.

    A file may name the recipe that it starts from in `base`; it starts from `paper` otherwise. What the file leaves
    out, also in its `pretext` table, stays as in that recipe.

    Raises:
        TrainingError: No such recipe or file, or the file does not hold one.
    """
    if name in RECIPES:
        return RECIPES[name]
    path = Path(name)
    if not path.is_file():
        raise TrainingError(f"no recipe or file {name!r}; expected {', '.join(RECIPES)} or a TOML file")
    try:
        changes = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: not a TOML file ({error})") from error
    base = changes.pop("base", "paper")
    if not isinstance(base, str) or base not in RECIPES:
        raise TrainingError(f"{path}: base is {base!r}; expected {', '.join(RECIPES)}")
    start = RECIPES[base].to_dict()
    if isinstance(changes.get("pretext"), dict):
        changes["pretext"] = {**start["pretext"], **changes["pretext"]}
    return Recipe.from_dict({**start, "name": path.stem, **changes})
