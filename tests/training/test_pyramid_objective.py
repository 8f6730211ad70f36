"""The errors of the pyramid network: nothing where all is right, and the more the farther it is from that."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from defusion.model.torch_ops import TorchPyramid
from defusion.pretext.absent import absent
from defusion.pretext.mixed import KINDS, mixed
from defusion.training.pyramid_objective import (
    ERROR_WEIGHTS,
    PyramidObjective,
    level_error,
    light_error,
    one_light_error,
    parts_error,
    structure_error,
)
from defusion.training.task import weighed


@pytest.fixture
def scenes() -> Tensor:
    return torch.rand(2, 3, 96, 96, generator=Generator().manual_seed(0))


def test_levels_of_the_scene_itself_have_no_error_and_noise_has_the_more_the_stronger(scenes: Tensor) -> None:
    apart, alike = torch.full_like(scenes, 0.1), torch.ones(2, 1, 96, 96)
    noise = torch.randn(scenes.shape, generator=Generator().manual_seed(1))
    errors = [level_error(scenes + spread * noise, scenes, apart, alike, 3) for spread in (0.0, 0.05, 0.1)]
    assert (errors[0] == 0).all()
    assert (errors[1] > 0).all() and (errors[2] > 1.5 * errors[1]).all()
    assert torch.allclose(level_error(scenes + 0.05 * noise, scenes, apart, 3 * alike, 3), 3 * errors[1])


def test_of_structures_that_are_each_others_reverse_the_stronger_counts(scenes: Tensor) -> None:
    sources = torch.stack([0.5 + 0.4 * (scenes - 0.5), 0.5 - 0.8 * (scenes - 0.5)])
    still = torch.zeros(2, 1, 96, 96)
    weaker, stronger, mean = (structure_error(each, sources, still) for each in (*sources, sources.mean(0)))
    assert (stronger < 0.1).all()
    assert (stronger < weaker).all() and (stronger < mean).all()


def test_structure_is_kept_by_the_source_and_lost_by_what_is_level(scenes: Tensor) -> None:
    sources, still = torch.stack([scenes, scenes]), torch.zeros(2, 1, 96, 96)
    kept, brighter, level = (
        structure_error(fused, sources, still) for fused in (scenes, scenes + 0.2, torch.full_like(scenes, 0.5))
    )
    assert kept.abs().max() < 0.02
    assert torch.allclose(brighter, kept, atol=1e-3)  # light is not structure
    assert (level > 0.6).all()
    assert (structure_error(torch.full_like(scenes, 0.5), sources, still + 1) < 1e-6).all()  # all of it moves


def test_light_is_that_of_squares_so_detail_within_them_does_not_count(scenes: Tensor) -> None:
    y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    checks = 0.1 * (-1.0) ** (x // 4 + y // 4)
    assert light_error(scenes + checks, scenes, 3).max() < 1e-6
    assert torch.allclose(light_error(scenes + checks, scenes, 2), torch.tensor(0.1), atol=1e-5)
    assert torch.allclose(light_error(scenes - 0.3, scenes, 5), torch.tensor(0.3), atol=1e-5)


def test_parts_of_eq_1_have_no_error(scenes: Tensor) -> None:
    views = absent(scenes, 2, Generator().manual_seed(3))
    both = (views.masks.sum(0) > 1.5).float()
    uniques = views.masks * (1 - both) * scenes
    assert parts_error(both * scenes, uniques, views).max() < 1e-6
    assert (parts_error(both * scenes, uniques.flip(0), views) > 0.01).all()


def test_one_light_is_a_cross_entropy() -> None:
    said, known = torch.full((2, 1, 4, 4), 0.9), torch.tensor([1.0, 0.0])
    expected = -torch.tensor([0.9, 0.1]).log()
    assert torch.allclose(one_light_error(said, known), expected, atol=1e-5)


def test_all_weights_of_the_network_learn_from_a_mixed_batch() -> None:
    photos = torch.rand(10, 3, 96, 96, generator=Generator().manual_seed(0))
    network = TorchPyramid()
    generator = Generator().manual_seed(0)
    with torch.no_grad():  # heads start at zero, and what is behind a zero has no gradient
        for value in network.named_weights().values():
            value += 0.05 * torch.randn(value.shape, generator=generator)
    views, kinds = mixed(photos, generator)
    errors = weighed(PyramidObjective(network)(views), kinds)
    assert {name for kind in ERROR_WEIGHTS.values() for name in kind} <= set(errors)
    torch.stack(list(errors.values())).sum().backward()
    silent = [name for name, value in network.named_weights().items() if value.grad is None or not value.grad.any()]
    assert silent in ([], ["level.scene.bias"])
    assert set(ERROR_WEIGHTS) == set(KINDS)


def test_the_close_look_alone_has_the_errors_that_it_has_in_the_whole_network(scenes: Tensor) -> None:
    views = absent(scenes, 2, Generator().manual_seed(3))
    objective = PyramidObjective(TorchPyramid())
    alone, whole = objective(views, only_close=True), objective(views)
    assert set(alone) == {"mask", "confidence"}
    for name, errors in alone.items():
        assert (errors != 0).all()
        assert torch.allclose(errors, whole[name], atol=1e-5)
