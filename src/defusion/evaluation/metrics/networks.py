"""The two networks of learned metrics, as functions of their official weights files. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from defusion.evaluation.metrics.metric import UndefinedError

Weights = dict[str, Tensor]

# Zhang 2018: normalisation of AlexNet's training pictures, for levels of -1 to 1.
_SHIFT = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
_SCALE = torch.tensor([0.458, 0.448, 0.450])[:, None, None]

#: AlexNet's convolutions: index in `features`, stride, padding, pooling before it.
_ALEXNET = ((0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False))


Picture = NDArray[np.uint8]
"""[H, W, 3], RGB, 0 to 255."""


def perceptual_distance(trunk: Path, linear: Path, a: Picture, b: Picture) -> float:
    """Returns the LPIPS of two pictures of one size, with sides of at least 31 pixels.

    Args:
        trunk: torchvision's state dict of AlexNet.
        linear: LPIPS's own weights of version 0.1 for AlexNet.
        a: First picture.
        b: Second picture.

    Raises:
        UndefinedError: A file is damaged or of another network.
    """
    with _fitting(trunk, linear):
        return float(_lpips(_load(trunk), _load(linear), _levels([a]), _levels([b])))


def class_shares(inception: Path, pictures: Sequence[Picture]) -> NDArray[np.float32]:
    """Returns the shares of the 1000 ImageNet classes, [N, 1000], for pictures of 299x299.

    Args:
        inception: torchvision's state dict of Inception v3.
        pictures: N pictures.

    Raises:
        UndefinedError: The file is damaged or of another network.
    """
    with _fitting(inception):
        shares: NDArray[np.float32] = _inception(_load(inception), _levels(pictures)).numpy()
        return shares


@lru_cache(maxsize=3)
def _load(path: Path) -> Weights:
    """Reads a state dict without running any code from the file."""
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch raises depends on the damage
        raise UndefinedError(f"{path} cannot be read ({type(error).__name__})") from error
    if not isinstance(weights, dict):
        raise UndefinedError(f"{path} holds no state dict")
    return {key: value.float() for key, value in weights.items() if isinstance(value, Tensor)}


@contextmanager
def _fitting(*files: Path) -> Iterator[None]:
    """Turns errors from weights of another network into a clear one."""
    try:
        with torch.inference_mode():
            yield
    except (KeyError, RuntimeError) as error:
        names = " and ".join(file.name for file in files)
        raise UndefinedError(f"{names}: weights of another network") from error


def _levels(pictures: Sequence[Picture]) -> Tensor:
    """[N, 3, H, W] in -1 to 1."""
    return torch.from_numpy(np.stack([picture.transpose(2, 0, 1) for picture in pictures])).float() / 127.5 - 1


def _lpips(trunk: Weights, linear: Weights, x: Tensor, y: Tensor) -> Tensor:
    """LPIPS of Zhang 2018: features of AlexNet's five stages, normalised; their squared differences, weighted and
    summed.
    """
    total = torch.zeros(())
    x, y = ((picture - _SHIFT) / _SCALE for picture in (x, y))
    for stage, (index, stride, padding, pooled) in enumerate(_ALEXNET):
        kernel, bias = trunk[f"features.{index}.weight"], trunk[f"features.{index}.bias"]
        if pooled:
            x, y = F.max_pool2d(x, 3, 2), F.max_pool2d(y, 3, 2)
        x, y = (F.relu(F.conv2d(plane, kernel, bias, stride, padding)) for plane in (x, y))
        difference = (_unit(x) - _unit(y)) ** 2
        total = total + F.conv2d(difference, linear[f"lin{stage}.model.1.weight"]).mean()
    return total


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


def _inception(weights: Weights, pictures: Tensor) -> Tensor:
    """Inception v3 of Szegedy 2016, with the names of torchvision's state dict: shares of classes, [N, 1000]."""

    def conv(x: Tensor, *names: str, stride: int = 1, keep: bool = True) -> Tensor:
        """Applies convolutions with normalisation and ReLU; `stride` is for the last one, all others keep
        the size.
        """
        for name in names:
            kernel = weights[f"{name}.conv.weight"]
            step = stride if name == names[-1] else 1
            same = keep and step == 1
            padding = (kernel.shape[2] // 2, kernel.shape[3] // 2) if same else (0, 0)
            mean, variance, scale, shift = (
                weights[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
            )
            x = F.conv2d(x, kernel, None, step, padding)
            x = F.relu(F.batch_norm(x, mean, variance, scale, shift, eps=0.001))
        return x

    def branch(block: str, x: Tensor, name: str, parts: str, stride: int = 1) -> Tensor:
        return conv(x, *(f"{block}.branch{name}_{part}" for part in parts), stride=stride)

    def forked(block: str, x: Tensor, name: str, part: str) -> list[Tensor]:
        return [conv(x, f"{block}.branch{name}_{part}{side}") for side in "ab"]

    def outer(block: str, x: Tensor, *inner: Tensor) -> Tensor:
        """Joins what all blocks of stride 1 have: a 1x1 branch first, a pooled branch last."""
        pooled = conv(F.avg_pool2d(x, 3, 1, 1), f"{block}.branch_pool")
        return torch.cat([conv(x, f"{block}.branch1x1"), *inner, pooled], dim=1)

    x = conv(pictures, "Conv2d_1a_3x3", stride=2)
    x = conv(x, "Conv2d_2a_3x3", keep=False)
    x = F.max_pool2d(conv(x, "Conv2d_2b_3x3"), 3, 2)
    x = F.max_pool2d(conv(x, "Conv2d_3b_1x1", "Conv2d_4a_3x3", keep=False), 3, 2)
    for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = outer(block, x, branch(block, x, "5x5", "12"), branch(block, x, "3x3dbl", "123"))
    halves = [conv(x, "Mixed_6a.branch3x3", stride=2), branch("Mixed_6a", x, "3x3dbl", "123", 2)]
    x = torch.cat([*halves, F.max_pool2d(x, 3, 2)], dim=1)
    for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = outer(block, x, branch(block, x, "7x7", "123"), branch(block, x, "7x7dbl", "12345"))
    halves = [branch("Mixed_7a", x, "3x3", "12", 2), branch("Mixed_7a", x, "7x7x3", "1234", 2)]
    x = torch.cat([*halves, F.max_pool2d(x, 3, 2)], dim=1)
    for block in ("Mixed_7b", "Mixed_7c"):
        short, long = branch(block, x, "3x3", "1"), branch(block, x, "3x3dbl", "12")
        x = outer(block, x, *forked(block, short, "3x3", "2"), *forked(block, long, "3x3dbl", "3"))
    return F.linear(x.mean(dim=(2, 3)), weights["fc.weight"], weights["fc.bias"]).softmax(dim=1)
