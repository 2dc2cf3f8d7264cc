"""In which of the usual layouts a model's files lie: half precision or not, whole or in shards, one single checkpoint.

Told from the names of the pinned files, so that nobody has to say it a second time. No torch here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from models.errors import WeightsError
from models.profiles import WeightFile
from models.weights import PinnedModel


def variant(folder: Path) -> str | None:
    """diffusers' and transformers' word for the files in `folder`: "fp16", in one piece or in shards, else None."""
    return "fp16" if any(re.search(r"\.fp16[.-]", path.name) for path in folder.glob("*.safetensors")) else None


def check_shards(folder: Path) -> None:
    """Where an index says which shard holds which tensor: every shard it names must be one of the pinned files beside
    it. The libraries would follow the name anywhere. Raises WeightsError."""
    for index in folder.glob("*.safetensors.index*.json"):
        named = json.loads(index.read_text(encoding="utf-8")).get("weight_map")
        shards = set(named.values()) if isinstance(named, dict) else {None}
        stray = [shard for shard in shards if not (isinstance(shard, str) and re.fullmatch(r"[\w.-]+", shard)
                                                   and (folder / shard).is_file())]
        if stray:
            raise WeightsError(
                f"it names the shard {stray[0]!r:.80}, which is none of the pinned files beside it",
                field="weights_dir", value="/".join(index.parts[-4:]), remedy="Fetch the repository again; its "
                "files do not belong together, or the table of weights lacks a row")


def sdxl_checkpoint(model: PinnedModel) -> WeightFile | None:
    """The one file in the original layout that holds UNet, VAE and both text encoders; None in diffusers' layout."""
    if any(file.path.startswith("unet/") and file.path.endswith(".safetensors") for file in model.spec.files):
        return None
    return next(file for file in model.spec.files if "/" not in file.path and file.path.endswith(".safetensors")
                and not file.path.startswith("diffusion_pytorch_model"))


def has(model: PinnedModel, path: str) -> bool:
    return any(file.path == path for file in model.spec.files)


def repo_of(model: PinnedModel, path: str) -> str:
    """The repository that brings `path`: the configurations may come from another one than the weights."""
    return next(file.repo for file in model.spec.files if file.path == path)
