"""The loss: the paper's four errors, what absent places count, and the networks that training starts from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from defusion.model import CONFIGS, Decomposition
from defusion.model.network import Bottleneck
from defusion.pretext import CudBatch, cud_targets
from defusion.training import RECIPES
from defusion.training.objective import CudObjective, start_network
from defusion.training.photos import Crops, Photos, find_photos
from defusion.training.run import to_scene


class Painter(nn.Module):
    """Stands in for the network: gives pictures that are known."""

    def __init__(self, pictures: Decomposition) -> None:
        super().__init__()
        self.config = CONFIGS["small"]
        self.pictures = pictures

    def forward(self, a: torch.Tensor, b: torch.Tensor, *, embeddings: bool) -> Decomposition:
        return self.pictures


def batch_of(scene: torch.Tensor) -> CudBatch:
    """Two sources: the left one keeps the first three quarters of a scene, the right one the last three."""
    width = scene.shape[-1]
    masks = torch.ones(2, len(scene), 1, *scene.shape[2:])
    masks[0, ..., width * 3 // 4 :] = 0
    masks[1, ..., : width // 4] = 0
    return CudBatch(masks * scene, masks, *cud_targets(scene, masks), scene)


def made_of(
    common: torch.Tensor, unique_a: torch.Tensor, unique_b: torch.Tensor, fused: torch.Tensor
) -> Decomposition:
    return Decomposition(common, unique_a, unique_b, fused)


@pytest.fixture
def scene() -> torch.Tensor:
    return 0.5 + 0.5 * torch.rand(2, 3, 8, 16, generator=torch.Generator().manual_seed(0))


def test_the_right_pictures_have_no_error(scene: torch.Tensor) -> None:
    batch = batch_of(scene)
    objective = CudObjective(Painter(made_of(batch.common, *batch.uniques, scene)))  # type: ignore[arg-type]
    assert {name: float(error) for name, error in objective(batch).items()} == {
        "fused": 0, "common": 0, "unique_a": 0, "unique_b": 0,
    }  # fmt: skip


def test_each_error_is_the_mean_absolute_error_of_its_picture(scene: torch.Tensor) -> None:
    batch = batch_of(scene)
    off = made_of(batch.common + 0.1, batch.uniques[0] - 0.2, batch.uniques[1] + 0.3, scene - 0.4)
    errors = CudObjective(Painter(off))(batch)  # type: ignore[arg-type]
    assert {name: float(error) for name, error in errors.items()} == pytest.approx(
        {"fused": 0.4, "common": 0.1, "unique_a": 0.2, "unique_b": 0.3}, rel=1e-5
    )


def test_absent_places_count_as_much_as_they_are_told(scene: torch.Tensor) -> None:
    batch = batch_of(scene)
    off = made_of(batch.common + 0.1, batch.uniques[0] + 0.1, batch.uniques[1] + 0.1, scene + 0.1)
    errors = CudObjective(Painter(off))(batch, absent_weight=0.5)  # type: ignore[arg-type]
    # Half of the places are common, a quarter each source's own; a picture of everything has no absent places.
    assert {name: float(error) for name, error in errors.items()} == pytest.approx(
        {"fused": 0.1, "common": 0.075, "unique_a": 0.0625, "unique_b": 0.0625}, rel=1e-5
    )


def test_a_recipe_starts_from_the_same_network_each_time_and_another_seed_from_another() -> None:
    def stem(seed: int) -> torch.Tensor:
        return start_network(replace(RECIPES["quick"], seed=seed)).encoder.stem.weight

    assert torch.equal(stem(0), stem(0))
    assert not torch.equal(stem(0), stem(1))


def test_starting_a_network_leaves_the_callers_randomness_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    start_network(RECIPES["quick"])
    assert torch.equal(torch.rand(3), expected)


def test_a_started_network_has_small_residual_branches_and_live_heads() -> None:
    small = start_network(RECIPES["quick"])
    whole = start_network(replace(RECIPES["quick"], residual_scale=1.0))
    pairs = zip(small.modules(), whole.modules(), strict=True)
    blocks = [(one, other) for one, other in pairs if isinstance(one, Bottleneck)]
    for one, other in blocks:
        torch.testing.assert_close(one.conv_out.weight, 0.2 * other.conv_out.weight)
    with torch.no_grad():
        made = small(*torch.rand(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    for picture in made[:4]:
        assert (picture > 0).float().mean() > 0.2


def test_no_head_of_the_papers_recipe_is_dead_after_200_steps(photographs: Path) -> None:
    recipe = replace(RECIPES["paper"], network="small", crop_px=32, batch=1)
    photos = Photos(find_photos([photographs]), recipe.crop_px)
    crops, generator = Crops(photos, range(len(photos)), recipe), torch.Generator().manual_seed(0)
    network = start_network(recipe)
    objective, optimizer = CudObjective(network), torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    for step in range(200):
        scene = to_scene(crops[step][None], torch.device("cpu"))
        errors = objective(recipe.pretext(scene, generator=generator), recipe.absent_weight(step))
        optimizer.zero_grad()
        torch.stack(list(errors.values())).sum().backward()
        optimizer.step()
    scenes = to_scene(torch.stack([crops[k] for k in range(8)]), torch.device("cpu"))
    with torch.no_grad():
        made = network(*recipe.pretext(scenes, generator=generator).sources)
    for picture in made[:4]:
        assert ((picture > 0).float().mean((0, 2, 3)) > 0.05).all()
