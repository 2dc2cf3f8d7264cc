"""The table of weights: every file used, whose it is, and which files serve which role in which profile.

Plain data, no torch: documents, keys and the command line read it. What of it lies on this machine, and with which
digest, is the business of models.weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from models.errors import InputError

CommercialUse = Literal["yes", "restricted", "no", "unknown"]
"""restricted: allowed, under the licence's list of uses it forbids."""

TINY_RECIPE = "name-seeded-1"
"""How models.tiny draws its weights. A test fails when they move while this name stays."""

FILES_RECIPE = "files-1"
"""How models.loaders makes a model of its files. To be raised when the same files come to mean another model."""


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """One file of a repository on the Hugging Face Hub.

    revision: the repository's commit, None where it is not known here: the first pull takes the newest and pins it.
    sha256: known to the table, else None: the user's lock holds what the first pull, or pin, found.
    size_bytes: as published, for messages and estimates only; None for small files.
    licence_from: where the licence is known from.
    """

    repo: str
    revision: str | None
    path: str
    sha256: str | None
    licence: str
    commercial_use: CommercialUse
    size_bytes: int | None = None
    licence_from: str = ""

    @property
    def key(self) -> str:
        """The file's name in lock files and messages, and its place under the weights folder."""
        return f"{self.repo}/{self.path}"


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What a model is before it exists in memory. The loader behind it is chosen by `kind`."""

    name: str
    kind: Literal["sdxl", "controlnet", "union", "iclight", "depth", "upscaler", "teed", "matting"]
    source: Literal["tiny", "files"]
    files: tuple[WeightFile, ...] = ()
    note: str = ""

    def digest(self, sha256_of: Mapping[str, str]) -> str:
        """What enters a pass key for this model, 64 hex digits. sha256_of: file key -> digest of the file's bytes.

        A tiny model is its recipe and its name, so its digest is known without building it.
        """
        what = ({"recipe": TINY_RECIPE, "name": self.name} if self.source == "tiny" else
                {"recipe": FILES_RECIPE, "kind": self.kind, "files": {f.key: sha256_of[f.key] for f in self.files}})
        canonical = json.dumps(what, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Which model serves which weight role.

    min_side: shortest picture side in pixels. outpaint_hole: colour of "invent this" in the outpaint ControlNet's
    training. notice: said wherever the profile's pictures are shown; empty for real weights.
    """

    name: str
    title: str
    min_side: int
    outpaint_hole: Literal["white", "black"]
    models: Mapping[str, ModelSpec]
    notice: str = ""

    @property
    def is_tiny(self) -> bool:
        return all(spec.source == "tiny" for spec in self.models.values())

    @property
    def files(self) -> tuple[WeightFile, ...]:
        """Every file any of its models reads, each once."""
        return tuple({file.key: file for spec in self.models.values() for file in spec.files}.values())


def profile(name: str) -> Profile:
    """The profile of that name. Raises InputError naming the known ones."""
    if name in PROFILES:
        return PROFILES[name]
    close = get_close_matches(name, PROFILES, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    raise InputError("there is no such profile", field="profile", value=name,
                     remedy=f"{hint}Known profiles: {', '.join(PROFILES)}")


CARD = "its page on the Hub, as stored publicly"
"""Read in research (spec/omni-bg.md 9, tag P), 2026-11-20."""


def _repo(name: str, licence: str, commercial_use: CommercialUse, paths: Mapping[str, float | None],
          licence_from: str = CARD) -> tuple[WeightFile, ...]:
    """Rows of one repository; paths: file -> size in GB as listed on its page, None for small ones.

    Commits and digests are not known here: revision and sha256 stay None, and the user's lock holds the digests.
    """
    return tuple(
        WeightFile(repo=name, revision=None, path=path, sha256=None, licence=licence, commercial_use=commercial_use,
                   size_bytes=None if gigabytes is None else round(gigabytes * 1e9), licence_from=licence_from)
        for path, gigabytes in paths.items())


def _tokenizer(folder: str) -> dict[str, float | None]:
    return dict.fromkeys(f"{folder}/{name}" for name in (
        "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"))


def _tiny(name: str, kind: Literal["sdxl", "controlnet", "iclight", "depth", "upscaler", "teed", "matting"],
          ) -> ModelSpec:
    return ModelSpec(name=name, kind=kind, source="tiny", note="the real classes at toy size, built by models.tiny")


TINY = Profile(
    name="tiny", title="Toy-size random weights", min_side=64, outpaint_hole="white",
    notice="Made with tiny random weights: it shows the machinery, not picture quality.",
    models={
        "sdxl": _tiny("tiny-sdxl", "sdxl"),
        "controlnet_outpaint": _tiny("tiny-controlnet-outpaint", "controlnet"),
        "controlnet_lines": _tiny("tiny-controlnet-lines", "controlnet"),
        "controlnet_depth": _tiny("tiny-controlnet-depth", "controlnet"),
        "iclight_fbc": _tiny("tiny-iclight-fbc", "iclight"),
        "depth": _tiny("tiny-depth", "depth"),
        "upscaler": _tiny("tiny-upscaler", "upscaler"),
        "matting": _tiny("tiny-matting", "matting"),
        "lines": _tiny("tiny-lines", "teed"),
    })

# Licences: spec/omni-bg.md 4 to 6 and 9. File names and sizes: the repositories' own listings, as stored publicly and
# read on 2026-11-21. Half-precision files are taken where a repository has both: the passes run in bfloat16.
SDXL = Profile(
    name="sdxl", title="Stable Diffusion XL and IC-Light, real weights", min_side=256, outpaint_hole="white",
    models={
        "sdxl": ModelSpec(
            name="realvisxl-v5", kind="sdxl", source="files",
            files=(
                *_repo("SG161222/RealVisXL_V5.0", "openrail++", "restricted", {
                    "unet/config.json": None, "unet/diffusion_pytorch_model.fp16.safetensors": 5.14,
                    "text_encoder/config.json": None, "text_encoder/model.fp16.safetensors": 0.246,
                    "text_encoder_2/config.json": None, "text_encoder_2/model.fp16.safetensors": 1.39,
                    **_tokenizer("tokenizer"), **_tokenizer("tokenizer_2")}),
                *_repo("madebyollin/sdxl-vae-fp16-fix", "MIT", "yes", {
                    "config.json": None, "diffusion_pytorch_model.safetensors": 0.335}),
            ),
            note="its own VAE overflows in half precision, so the repaired one serves (spec/omni-bg.md 8, 13)"),
        "controlnet_outpaint": ModelSpec(
            name="inpaint-dreamer", kind="controlnet", source="files",
            files=_repo("destitech/controlnet-inpaint-dreamer-sdxl", "openrail", "restricted", {
                "config.json": None, "diffusion_pytorch_model.fp16.safetensors": 2.5}),
            note="an early alpha by its authors' word; what is to be invented is white"),
        "controlnet_lines": ModelSpec(
            name="mistoline", kind="controlnet", source="files",
            files=_repo("TheMistoAI/MistoLine", "openrail++", "restricted", {
                "config.json": None, "diffusion_pytorch_model.fp16.safetensors": 2.5})),
        "controlnet_depth": ModelSpec(
            name="xinsir-depth", kind="controlnet", source="files",
            files=_repo("xinsir/controlnet-depth-sdxl-1.0", "Apache-2.0", "yes", {
                "config.json": None, "diffusion_pytorch_model.safetensors": 2.5},
                licence_from="general knowledge; its page was not read, so the pull compares what the Hub says")),
        "iclight_fbc": ModelSpec(
            name="iclight-fbc", kind="iclight", source="files",
            files=(
                *_repo("SG161222/Realistic_Vision_V5.1_noVAE", "CreativeML OpenRAIL-M", "restricted", {
                    "unet/config.json": None, "unet/diffusion_pytorch_model.safetensors": 3.44,
                    "vae/config.json": None, "vae/diffusion_pytorch_model.safetensors": 0.335,
                    "text_encoder/config.json": None, "text_encoder/model.safetensors": 0.492,
                    **_tokenizer("tokenizer")}),
                *_repo("lllyasviel/ic-light", "none stated", "unknown", {"iclight_sd15_fbc.safetensors": 1.72},
                       licence_from="its page on the Hub, as stored publicly, bears none; their code is Apache-2.0"),
            ),
            note="the offsets' repository states no licence (their code is Apache-2.0); ask counsel before selling"),
        "depth": ModelSpec(
            name="depth-anything-v2-small", kind="depth", source="files",
            files=_repo("depth-anything/Depth-Anything-V2-Small-hf", "Apache-2.0", "yes", {
                "config.json": None, "preprocessor_config.json": None, "model.safetensors": 0.099})),
        "upscaler": ModelSpec(
            name="realesrgan-x4plus", kind="upscaler", source="files",
            # The digest is printed alike in several public download scripts, as stored publicly, read on 2026-11-21.
            files=(WeightFile(
                repo="Comfy-Org/Real-ESRGAN_repackaged", revision=None, path="RealESRGAN_x4plus.safetensors",
                sha256="37f9a931c215f040aa6d50f711f2cb115f713c46df1d0d6469a8bd7bfe9a60bb", licence="BSD-3-Clause",
                commercial_use="yes", size_bytes=66_857_836, licence_from="OpenModelDB's record of the model"),),
            note="the authors publish a pickle only; this is the same network repackaged as safetensors"),
        "matting": ModelSpec(
            name="birefnet-lite", kind="matting", source="files",
            # Size and digest are printed alike in several public programs that fetch it, for this file and for
            # BiRefNet-general-bb_swin_v1_tiny-epoch_232.onnx of the authors' release v1; read on 2026-11-21.
            files=(WeightFile(
                repo="onnx-community/BiRefNet_lite-ONNX", revision=None, path="onnx/model.onnx",
                sha256="5600024376f572a557870a5eb0afb1e5961636bef4e1e22132025467d0f03333", licence="MIT",
                commercial_use="yes", size_bytes=224_005_088,
                licence_from="the authors' code and page, as stored publicly; the export's own page was not read"),),
            note="the authors' ONNX export; among its training pictures are some for research only"),
        "lines": ModelSpec(
            name="mteed", kind="teed", source="files",
            # Size and digest are printed alike in three public repositories, read on 2026-11-21.
            files=(WeightFile(
                repo="TheMistoAI/MistoLine", revision=None, path="Anyline/MTEED.pth",
                sha256="a3c2d8a8ce9422555c787160bd46362d761325a565333c0e3f6a53e0bae2abdb", licence="openrail++",
                commercial_use="restricted", size_bytes=248_298, licence_from=CARD),),
            note="for BACKLOT_LINES=teed only; a pickle, so no other file than the one of this digest is ever read"),
    })

UNION = ModelSpec(
    name="xinsir-union-promax", kind="union", source="files",
    files=_repo("OzzyGT/controlnet-union-promax-sdxl-1.0", "Apache-2.0", "yes", {
        "config.json": None, "diffusion_pytorch_model.fp16.safetensors": 2.51}),
    note="xinsir's ProMax in diffusers' layout; one net for all three maps, and what is to be invented is black")

SDXL_UNION = replace(
    SDXL, name="sdxl-union", title="The same with one ControlNet-Union for three nets", outpaint_hole="black",
    models={**SDXL.models, **dict.fromkeys(("controlnet_outpaint", "controlnet_lines", "controlnet_depth"), UNION)})

PROFILES: Mapping[str, Profile] = {row.name: row for row in (TINY, SDXL, SDXL_UNION)}
