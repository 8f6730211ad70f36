"""Weights files: one safetensors file for each model, with its config, recipe and origin in the metadata.

Reading one needs numpy alone, so that both engines can build their network from the same file.
"""

from defusion.weights.file import DEFAULT, WeightsFile, bundled, resolve, save

__all__ = ["DEFAULT", "WeightsFile", "bundled", "resolve", "save"]
