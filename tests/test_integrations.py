"""The plug-ins for other programs load, and give what those programs take."""

import importlib.util
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import data

INTEGRATIONS = Path(__file__).parents[1] / "integrations"


def loaded(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_napari_gets_a_fused_and_a_depth_layer() -> None:
    folder = INTEGRATIONS / "napari-defusion"
    plugin = loaded(folder / "src" / "napari_defusion" / "__init__.py", "napari_defusion")
    manifest = (folder / "src" / "napari_defusion" / "napari.yaml").read_text()
    assert "python_name: napari_defusion:fuse_stack" in manifest and callable(plugin.fuse_stack)
    entry = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]["napari.manifest"]
    assert entry == {"napari-defusion": "napari_defusion:napari.yaml"}
    sharp = data.camera()[100:228, 180:340]
    soft = gaussian_filter(sharp, 3)
    near, far = sharp.copy(), soft.copy()
    near[:, 80:], far[:, 80:] = soft[:, 80:], sharp[:, 80:]
    layers = plugin.layers_of(np.stack([near, far]), "stack", align="off")
    assert [settings["name"] for _, settings, _ in layers] == ["stack fused", "stack depth"]
    assert all(kind == "image" for *_, kind in layers)
    assert layers[0][0].shape == layers[1][0].shape == sharp.shape


def test_comfyui_gets_a_node_that_fuses_a_batch() -> None:
    torch = pytest.importorskip("torch")
    nodes = loaded(INTEGRATIONS / "comfyui-defusion" / "__init__.py", "comfyui_defusion")
    node = nodes.NODE_CLASS_MAPPINGS["Defusion"]
    assert list(node.INPUT_TYPES()["required"]) == ["images", "align", "deghost"]
    images = torch.rand(2, 48, 64, 3, generator=torch.Generator().manual_seed(0))
    (fused,) = getattr(node(), node.FUNCTION)(images, align="off", deghost="off")
    assert fused.shape == (1, 48, 64, 3) and fused.dtype == torch.float32
    assert fused.min() >= 0 and fused.max() <= 1
