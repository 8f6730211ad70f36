"""Models of motion."""

from __future__ import annotations

import numpy as np
import pytest

from defusion.alignment.geometry import MODELS, Model, design, mapped, motion, parameters_of


@pytest.mark.parametrize("model", MODELS[1:])
def test_points_move_with_parameters_as_the_design_says(model: Model) -> None:
    points = np.random.default_rng(2).uniform(-1, 1, (50, 2))
    across, down = design(points, model)
    for number, parameters in enumerate(parameters_of(model)):
        moved = (mapped(motion(1e-6 * parameters), points) - points) / 1e-6
        assert np.allclose(moved[:, 0], across[:, number], atol=1e-5)
        assert np.allclose(moved[:, 1], down[:, number], atol=1e-5)
