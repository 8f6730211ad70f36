"""Weights on the Hugging Face hub, or in a folder with the same files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin, hf_hub_download

from defusion.api.fuser import Fuser
from defusion.errors import WeightsError

#: Name of the weights file in a repository. It is a safetensors file with the config in its metadata.
FILE = "defusion.safetensors"


class HubFuser(Fuser, ModelHubMixin, library_name="defusion", tags=["image-fusion"], license="apache-2.0"):
    """A `Fuser` that can be loaded from a repository or folder, and saved to one.

    `HubFuser.from_pretrained(name_or_folder)`, `save_pretrained(folder)` and `push_to_hub(name)` come from
    huggingface_hub. Options of `Fuser` are given by name.
    """

    def _save_pretrained(self, save_directory: Path) -> None:
        shutil.copyfile(self.weights.path, save_directory / FILE)
        if card := self.weights.card():
            (save_directory / "README.md").write_text(card, encoding="utf-8")

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | os.PathLike[str] | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **options: Any,
    ) -> HubFuser:
        """Loads the weights of a repository.

        Raises:
            WeightsError: The folder or repository does not hold a weights file.
        """
        if Path(model_id).is_dir():
            file = Path(model_id) / FILE
        else:
            file = Path(
                hf_hub_download(
                    model_id,
                    FILE,
                    revision=revision,
                    cache_dir=None if cache_dir is None else str(cache_dir),
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                )
            )
        if not file.is_file():
            raise WeightsError(f"{model_id} holds no {FILE}; expected what `save_pretrained` writes")
        options.pop("options", None)  # saved options describe the machine that saved them
        return cls(weights=file, **options)
