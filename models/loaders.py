"""From a pinned model to the loaded object behind its weight role: library classes, on a device, for inference.

Only pinned files are ever read: the libraries are pointed at a folder of links to exactly those, so a stray file in a
repository's folder cannot change a picture without changing its key. No code comes with weights: safetensors,
self-contained ONNX graphs, or the one pickle whose digest the table knows, checked before a library opens them
(models/safetensors_check.py), never trust_remote_code. Call through models.zoo, which holds the one lock that loading
needs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, ControlNetUnionModel, UNet2DConditionModel
from safetensors.torch import load_file
from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    DepthAnythingForDepthEstimation,
    DPTImageProcessor,
)
from transformers.utils import logging as transformers_logging

from models import layouts, single_file, tiny
from models.components import DepthComponents, IcLightComponents, MattingComponents, SdxlComponents
from models.errors import WeightsError
from models.line_detectors import teed_network
from models.onnx_session import matting_session
from models.safetensors_check import check_file
from models.weights import PinnedModel, vanished, verify

IN_FLOAT32 = frozenset({"depth", "upscaler", "teed", "matting"})
"""Kinds kept in float32 whatever the zoo's dtype: their output is a picture, and bfloat16's 8 bits of mantissa are
coarser than a picture's 8-bit steps near white. Both are small next to a UNet."""


def dtype_for(model: PinnedModel, dtype: torch.dtype) -> torch.dtype:
    """What the model computes in, where the zoo's dtype is `dtype`."""
    return torch.float32 if model.spec.kind in IN_FLOAT32 else dtype


def load(model: PinnedModel, *, device: str, dtype: torch.dtype, check: bool = True,
         digest_of: Callable[[Path], str] | None = None) -> Any:
    """The object behind the role (models.components says which), in eval mode and without gradients.

    check: refuse what is not as pinned. digest_of: who knows a file's SHA-256 (models.reading, ahead); None: it is read
    for it here, about 1 s a GB. Raises WeightsError naming the file, or the tensor that holds values that are not
    finite.
    """
    if model.spec.kind == "matting":
        with _all_there(model):
            graph = _graph(model, check=check, digest_of=digest_of)
        return matting_session(graph, name=model.spec.name, device=device)
    dtype = dtype_for(model, dtype)
    if model.spec.source == "tiny":
        loaded = TINY[model.spec.name]()
    else:
        with _all_there(model):
            loaded = _from_files(model, dtype, check=check, digest_of=digest_of)
    move(loaded, device, dtype)
    for module in modules_of(loaded):
        module.eval().requires_grad_(False)
    if model.spec.source == "files":
        _check_finite(model, loaded)
    return loaded


@contextmanager
def _all_there(model: PinnedModel) -> Generator[None]:
    """Whoever meets first that a file is gone since it was pinned (the check, the hash, a library): it is one error."""
    try:
        yield
    except OSError as error:
        if (missed := vanished(model)) is not None:
            raise missed from error
        raise


def _from_files(model: PinnedModel, dtype: torch.dtype, *, check: bool,
                digest_of: Callable[[Path], str] | None) -> Any:
    for file in model.spec.files:
        check_file(model.path(file), file)
    if check:
        verify(model, digest_of)
    with _only_pinned(model) as folder, _without_progress_bars():
        return FILES[model.spec.kind](model, folder, dtype)


def _graph(model: PinnedModel, *, check: bool, digest_of: Callable[[Path], str] | None) -> bytes:
    """The ONNX file's bytes, as pinned."""
    if model.spec.source == "tiny":
        return tiny.matting()
    [file] = model.spec.files
    check_file(model.path(file), file)
    if check:
        verify(model, digest_of)
    return model.path(file).read_bytes()


def move(loaded: Any, device: str, dtype: torch.dtype | None = None) -> None:
    """Bring a loaded object's modules to a device, and to a dtype where one is given."""
    for module in modules_of(loaded):
        torch.nn.Module.to(module, device=device, dtype=dtype)  # diffusers' own `to` warns of layers it does not have


def _check_finite(model: PinnedModel, loaded: Any) -> None:
    """One NaN among the weights makes every picture black, hours later.

    The least and the largest value tell, since NaN counts as both: 0.1 s a GB on two cores, where isfinite of each
    value takes 2 to 7 (2026-11-21).
    """
    for module in modules_of(loaded):
        for name, tensor in module.state_dict().items():
            if not torch.isfinite(torch.stack(tensor.aminmax())).all():
                raise WeightsError(
                    f"the tensor {name} of its {type(module).__name__} holds values that are not finite in "
                    f"{tensor.dtype}", field="weights", value=model.spec.name,
                    remedy="Fetch the model's files again, or use another model")


def modules_of(loaded: Any) -> Iterator[torch.nn.Module]:
    """The torch modules inside a loaded object."""
    if isinstance(loaded, ImageModelDescriptor):
        return iter([loaded.model])
    parts = vars(loaded).values() if is_dataclass(loaded) else [loaded]
    return (part for part in parts if isinstance(part, torch.nn.Module))


def bytes_of(loaded: Any) -> int:
    """Memory its parameters and buffers take, in bytes."""
    if isinstance(loaded, MattingComponents):
        return loaded.size_bytes
    return sum(tensor.numel() * tensor.element_size() for module in modules_of(loaded)
               for tensor in (*module.parameters(), *module.buffers()))


def place_of(loaded: Any, device: str) -> str:
    """Where it computes, loaded for `device`: there, but for a network of onnxruntime, which may have had to stay on
    the CPU."""
    return loaded.device if isinstance(loaded, MattingComponents) else device


def _tiny_iclight() -> IcLightComponents:
    from models.iclight import merge_offsets

    return IcLightComponents(
        unet=merge_offsets(tiny.sd15_unet(), tiny.iclight_offsets(condition_channels=8)), vae=tiny.sd15_vae(),
        text_encoder=tiny.sd15_text_encoder(), tokenizer=tiny.tokenizer())


TINY: Mapping[str, Callable[[], Any]] = {
    "tiny-sdxl": tiny.sdxl,
    "tiny-controlnet-outpaint": lambda: tiny.controlnet("outpaint"),
    "tiny-controlnet-lines": lambda: tiny.controlnet("lines"),
    "tiny-controlnet-depth": lambda: tiny.controlnet("depth"),
    "tiny-iclight-fbc": _tiny_iclight,
    "tiny-depth": tiny.depth,
    "tiny-upscaler": tiny.upscaler,
    "tiny-lines": tiny.teed,
}


def _sdxl(model: PinnedModel, folder: Path, dtype: torch.dtype) -> SdxlComponents:
    """In diffusers' layout, or one checkpoint in the original layout beside the configurations of diffusers' one.

    A repository with a model at its root is a VAE that replaces the base's own.
    """
    base = folder / layouts.repo_of(model, "unet/config.json")
    if checkpoint := layouts.sdxl_checkpoint(model):
        parts = single_file.sdxl_parts(load_file(folder / checkpoint.key), base, dtype)
    else:
        parts = {"unet": _whole(UNet2DConditionModel, base / "unet", dtype),
                 "text_encoder": _whole(CLIPTextModel, base / "text_encoder", dtype),
                 "text_encoder_2": _whole(CLIPTextModelWithProjection, base / "text_encoder_2", dtype)}
    if layouts.has(model, "config.json"):
        parts["vae"] = _whole(AutoencoderKL, folder / layouts.repo_of(model, "config.json"), dtype)
    elif not checkpoint:
        parts["vae"] = _whole(AutoencoderKL, base / "vae", dtype)
    return SdxlComponents(
        **parts, tokenizer=CLIPTokenizer.from_pretrained(base / "tokenizer", local_files_only=True),
        tokenizer_2=CLIPTokenizer.from_pretrained(base / "tokenizer_2", local_files_only=True))


def _iclight(model: PinnedModel, folder: Path, dtype: torch.dtype) -> IcLightComponents:
    """SD 1.5 in diffusers' layout and one file of offsets. Merged in float32, so that half rounds once, not twice."""
    from models.iclight import merge_offsets

    base, _ = _repos(model, folder)
    unet = _whole(UNet2DConditionModel, base / "unet", torch.float32)
    return IcLightComponents(
        unet=merge_offsets(unet, load_file(folder / model.spec.files[-1].key)),
        vae=_whole(AutoencoderKL, base / "vae", dtype),
        text_encoder=_whole(CLIPTextModel, base / "text_encoder", dtype),
        tokenizer=CLIPTokenizer.from_pretrained(base / "tokenizer", local_files_only=True))


def _controlnet(model: PinnedModel, folder: Path, dtype: torch.dtype) -> Any:
    return _whole(ControlNetModel, folder / model.spec.files[0].repo, dtype)


def _union(model: PinnedModel, folder: Path, dtype: torch.dtype) -> Any:
    return _whole(ControlNetUnionModel, folder / model.spec.files[0].repo, dtype)


def _depth(model: PinnedModel, folder: Path, dtype: torch.dtype) -> DepthComponents:
    repo = folder / model.spec.files[0].repo
    return DepthComponents(model=_whole(DepthAnythingForDepthEstimation, repo, dtype),
                           processor=DPTImageProcessor.from_pretrained(repo, local_files_only=True))


def _upscaler(model: PinnedModel, folder: Path, dtype: torch.dtype) -> ImageModelDescriptor[Any]:
    """Spandrel sees tensors and no file: by a file's name it would choose a reader, some of which unpickle."""
    file = model.spec.files[0]
    try:
        descriptor = ModelLoader().load_from_state_dict(load_file(folder / file.key))
    except UnsupportedModelError as error:
        raise _no_upscaler(model, "of no network that spandrel knows") from error
    if not isinstance(descriptor, ImageModelDescriptor):
        raise _no_upscaler(model, f"a {type(descriptor).__name__}, not a network from picture to picture")
    return descriptor


def _no_upscaler(model: PinnedModel, what: str) -> WeightsError:
    file = model.spec.files[0]
    return WeightsError(f"{file.key} is {what}", field="weights_dir", value=str(model.path(file)),
                        remedy="Use an upscaler's weights")


def _teed(model: PinnedModel, folder: Path, dtype: torch.dtype) -> Any:
    """A state dict that its authors publish as a pickle only. weights_only: torch builds tensors and nothing else."""
    file = model.spec.files[0]
    network = teed_network()
    try:
        network.load_state_dict(torch.load(folder / file.key, map_location="cpu", weights_only=True))
    except Exception as error:  # torch's own for what it will not unpickle, for names and for shapes
        raise WeightsError(f"{file.key} does not fill TEED's network: {str(error).splitlines()[0]}",
                           field="weights_dir", value=str(model.path(file)),
                           remedy=f"Fetch the file again from {file.repo}") from error
    return network


FILES: Mapping[str, Callable[[PinnedModel, Path, torch.dtype], Any]] = {
    "sdxl": _sdxl, "controlnet": _controlnet, "union": _union, "iclight": _iclight, "depth": _depth,
    "upscaler": _upscaler, "teed": _teed}


def _repos(model: PinnedModel, folder: Path) -> tuple[Path, Path]:
    """The folders of the first and the last repository of the model's files."""
    return folder / model.spec.files[0].repo, folder / model.spec.files[-1].repo


def _whole(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """A library model with every one of its weights from the file.

    The libraries fill weights that a file lacks with random numbers and only log it; here that is an error.
    """
    layouts.check_shards(folder)
    loaded, report = kind.from_pretrained(
        folder, variant=layouts.variant(folder), dtype=dtype, use_safetensors=True, local_files_only=True,
        output_loading_info=True)
    if any(report[fault] for fault in ("missing_keys", "mismatched_keys", "error_msgs")):
        raise WeightsError(
            f"the weights do not fill a {kind.__name__}: missing {sorted(map(str, report['missing_keys']))[:3]}, "
            f"of another shape {list(map(str, report['mismatched_keys']))[:3]}", field="weights_dir",
            value="/".join(folder.parts[-3:]), remedy="Fetch the repository again; its files do not belong together")
    return loaded


@contextmanager
def _only_pinned(model: PinnedModel) -> Generator[Path]:
    """A folder in the layout of the weights folder that holds links to the model's pinned files and nothing else."""
    with tempfile.TemporaryDirectory(prefix="backlot-weights-") as view:
        for file in model.spec.files:
            link = Path(view, file.key)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(model.path(file).resolve())
        yield Path(view)


@contextmanager
def _without_progress_bars() -> Generator[None]:
    """The command line draws its own progress; transformers' bars would land in the middle of it."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
