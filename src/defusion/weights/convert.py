"""Converts the authors' published checkpoints to weights files."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from defusion.errors import WeightsError
from defusion.model.config import CONFIGS, NetworkConfig, ProjectionName
from defusion.model.network import DeFusion
from defusion.system.files import unfit
from defusion.weights.file import WeightsFile, save

#: The authors' names for our modules.
_MODULES = {
    "encoder.stem": "encoder_upper.0",
    "encoder.scale1": "encoder_upper.2.layer",
    "encoder.scale2": "upper_encoder_layer1.layer",
    "encoder.scale4": "upper_encoder_layer2.layer",
    "encoder.scale8": "upper_encoder_layer3.layer",
    "ensembler": "common_encoder.0.layer",
    "common_decoder.scale8": "decoder_common_layer1.layer",
    "common_decoder.scale4": "decoder_common_layer2.layer",
    "common_decoder.scale2": "decoder_common_layer3.layer",
    "common_decoder.scale1": "decoder_common_layer4.0.layer",
    "unique_decoder.scale8": "decoder_upper_layer1.layer",
    "unique_decoder.scale4": "decoder_upper_layer2.layer",
    "unique_decoder.scale2": "decoder_upper_layer3.layer",
    "unique_decoder.scale1": "decoder_upper_layer4.0.layer",
    "project_common.conv": "decoder_common_projection_layer.0",
    "project_unique.conv": "decoder_upper_projection_layer.0",
    "project_fused.conv": "fusion_rule.0",
}

#: And for the layers within a block; the shortcut's convolution follows a pool in the encoder alone.
_LAYERS = {
    "conv_in": "conv1",
    "attention.conv": "conv2.conv",
    "attention.squeeze": "conv2.fc1",
    "attention.excite": "conv2.fc2",
    "conv_out": "conv3",
    "shortcut.1": "downsample.{}",
}

#: Both sources share their weights; a checkpoint holds them twice, the second time under these names.
_TWINS = {
    "encoder_lower": "encoder_upper",
    "lower_encoder_layer": "upper_encoder_layer",
    "decoder_lower": "decoder_upper",
}

#: Most keys that an error names.
_KEYS_SHOWN = 40


def convert(source: str | Path, target: str | Path, common_projection: ProjectionName = "unique") -> WeightsFile:
    """Converts a checkpoint of the paper's authors to a weights file.

    Args:
        source: PyTorch file: a dict of the weights, or one that holds such a dict. No code in it is run.
        target: Weights file to write, float32.
        common_projection: Head that projects f_c: "unique" as in the authors' test networks, "common" as in
            their training and in the paper.

    Returns:
        The new file; its config's name says which layout was found.

    Raises:
        WeightsError: The file is not such a checkpoint; the message lists the keys that do not fit. Or the target is
            the source, or not a regular file.
    """
    source = Path(source)
    if reason := unfit(target, [source]):
        raise WeightsError(f"{target} {reason}")
    found = _load(source)
    layout, names = _layout(source, found)
    tensors = {key: value.detach().float() for key, value in found.items()}
    wild = [key for key, value in tensors.items() if not value.isfinite().all()]
    if wild:
        raise WeightsError(
            f"{source}: expected numbers, but these tensors hold NaN, or more than float32 can: {_listed(wild)}; was "
            "the training run sound?"
        )
    unlike = [key for key, value in tensors.items() if not torch.equal(value, tensors.get(_twin(key), value))]
    if unlike:
        raise WeightsError(
            f"{source}: the encoders or decoders of the two sources differ, but they share weights in DeFusion: "
            f"{_listed(unlike)}"
        )
    config = replace(layout, common_projection=common_projection)
    about = {
        "origin": f"converted from {source.name}, a checkpoint of the authors' layout `{config.name}`",
        "data": "see the publisher of the checkpoint",
        "licence": "that of the checkpoint",
    }
    return save(target, {names[_twin(key)]: value.numpy() for key, value in tensors.items()}, config, about)


def _load(source: Path) -> Mapping[str, Tensor]:
    if not source.is_file():
        raise WeightsError(f"{source}: no such file; expected a checkpoint of the authors', a .pth file")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's, of kinds of tensors that are refused below
            checkpoint = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises whatever its parser trips over
        raise WeightsError(f"{source}: not a PyTorch file of plain weights ({_reason(error)})") from error
    state = _weights_in(checkpoint)
    if state is None:
        keys = _listed(list(checkpoint)) if isinstance(checkpoint, Mapping) else type(checkpoint).__name__
        raise WeightsError(
            f"{source}: expected a dict of tensors, or one with `state_dict` in it, but it holds {keys or 'nothing'}"
        )
    odd = [f"{key} is {what}" for key, value in state.items() if (what := _oddity(value))]
    if odd:
        raise WeightsError(f"{source}: expected plain tensors of floating point numbers alone, but {_listed(odd)}")
    # A network that was trained on several GPUs has every key behind `module.`.
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def _reason(error: Exception) -> str:
    """Returns why torch did not read a file, without torch's advice to switch its safety off."""
    said = str(error)
    if refused := re.search(r"(?:GLOBAL|class) ([\w.]+)", said):
        return f"it holds {refused[1]}, and to read that could run code; save the state_dict alone"
    if "resiz" in said:
        return "the strides of a tensor reach beyond what the file holds"
    if isinstance(error, UnpicklingError) or not said:
        return "it is damaged, or torch did not write it"
    return said.splitlines()[0]


def _weights_in(checkpoint: object) -> Mapping[Any, Any] | None:
    """Returns the weights: those under `state_dict`, or the only dict of tensors; None if there are none."""
    if not isinstance(checkpoint, Mapping):
        return None
    state = checkpoint.get("state_dict")
    if isinstance(state, Mapping):
        return state
    found = [each for each in (checkpoint, *checkpoint.values()) if isinstance(each, Mapping) and each]
    of_tensors = [each for each in found if all(isinstance(value, Tensor) for value in each.values())]
    return of_tensors[0] if len(of_tensors) == 1 else None


def _oddity(value: object) -> str | None:
    """Returns why something is not a plain tensor. Its numbers are not read: it may claim any number of them."""
    if not isinstance(value, Tensor):
        return "no tensor"
    if value.is_nested or value.layout != torch.strided:
        return "sparse or nested"
    if value.is_meta:
        return "on the device `meta`, a shape without numbers"
    if value.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        return f"of {str(value.dtype).removeprefix('torch.')}"
    return None


def _twin(key: str) -> str:
    """Returns the `upper` key for which a `lower` one is an alias, and any other key unchanged."""
    for lower, upper in _TWINS.items():
        if key.startswith(lower):
            return upper + key.removeprefix(lower)
    return key


def _their_name(key: str) -> str:
    """Returns the authors' name for one of our keys."""
    module = next(module for module in _MODULES if key.startswith(f"{module}."))
    rest = key.removeprefix(f"{module}.")
    block = re.fullmatch(r"(\d+)\.(.+)\.(weight|bias)", rest)
    if block is not None:
        layer = _LAYERS[block[2]].format(0 if "decoder" in module else 1)
        rest = f"{block[1]}.{layer}.{block[3]}"
    return f"{_MODULES[module]}.{rest}"


def _layout(source: Path, found: Mapping[str, Tensor]) -> tuple[NetworkConfig, dict[str, str]]:
    """Finds the layout of a checkpoint, and our names for its keys."""
    twins = {_twin(key) for key in found}
    misfits: dict[str, list[str]] = {}
    for name in ("released", "deep"):
        with torch.device("meta"):
            ours = DeFusion(CONFIGS[name]).state_dict()
        names = {_their_name(key): key for key in ours}
        misfits[name] = [
            *(f"{key} is missing" for key in names if key not in twins),
            *(f"{key} is not known" for key in found if _twin(key) not in names),
            *(
                f"{key} is {list(value.shape)}, expected {list(ours[names[_twin(key)]].shape)}"
                for key, value in found.items()
                if _twin(key) in names and value.shape != ours[names[_twin(key)]].shape
            ),
        ]
        if not misfits[name]:
            return CONFIGS[name], names
    nearest = min(misfits, key=lambda name: len(misfits[name]))
    raise WeightsError(
        f"{source}: neither the layout `released` nor `deep`; against `{nearest}`: {_listed(misfits[nearest])}"
    )


def _listed(items: list[str]) -> str:
    more = f" and {len(items) - _KEYS_SHOWN} more" if len(items) > _KEYS_SHOWN else ""
    return ", ".join(map(str, items[:_KEYS_SHOWN])) + more
