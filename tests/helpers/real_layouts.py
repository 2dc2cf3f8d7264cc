"""The real rows of the profiles, with toy weights where the real files lie: saved by the libraries' own functions, in
the layouts and under the key names that the repositories have."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from models import tiny
from models.profiles import PROFILES, Profile


def the_profile(name: str = "sdxl") -> Profile:
    """The real profile, but for the digests its table knows: open for upscaler and matting, the toy's own for TEED."""
    whole = PROFILES[name]
    digests = {"upscaler": None, "matting": None, "lines": hashlib.sha256(toy_teed()).hexdigest()}
    changed = {role: dataclasses.replace(whole.models[role], files=(
        dataclasses.replace(whole.models[role].files[0], sha256=digest),)) for role, digest in digests.items()}
    return dataclasses.replace(whole, models={**whole.models, **changed})


@cache
def toy_teed() -> bytes:
    """As torch.save of our day writes it: a zip with a pickle in it."""
    written = io.BytesIO()
    torch.save(tiny.teed().state_dict(), written)
    return written.getvalue()


def save_tokenizer(folder: Path) -> None:
    """As the Hub's SD repositories have it: vocab.json and merges.txt, from before tokenizer.json."""
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(tiny.tokenizer().get_vocab()))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
               "pad_token": "<|endoftext|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {**special, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True}))


def save_text_encoder(module: Any, folder: Path, *, half: bool) -> None:
    """With the key names of those years: everything under text_model, and position ids among the weights."""
    module.save_pretrained(folder)
    state = {name if name.startswith("text_") else f"text_model.{name}": value.half() if half else value
             for name, value in load_file(folder / "model.safetensors").items()}
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    (folder / "model.safetensors").unlink()
    save_file(state, folder / ("model.fp16.safetensors" if half else "model.safetensors"), metadata={"format": "pt"})


def save_all(root: Path) -> None:
    sdxl, depth = tiny.sdxl(), tiny.depth()
    base = root / "SG161222/RealVisXL_V5.0"
    sdxl.unet.half().save_pretrained(base / "unet", variant="fp16")
    save_text_encoder(sdxl.text_encoder, base / "text_encoder", half=True)
    save_text_encoder(sdxl.text_encoder_2, base / "text_encoder_2", half=True)
    save_tokenizer(base / "tokenizer")
    save_tokenizer(base / "tokenizer_2")
    sdxl.vae.save_pretrained(root / "madebyollin/sdxl-vae-fp16-fix")
    tiny.controlnet("outpaint").half().save_pretrained(
        root / "destitech/controlnet-inpaint-dreamer-sdxl", variant="fp16")
    tiny.controlnet("lines").half().save_pretrained(root / "TheMistoAI/MistoLine", variant="fp16")
    tiny.controlnet("depth").save_pretrained(root / "xinsir/controlnet-depth-sdxl-1.0")
    sd15 = root / "SG161222/Realistic_Vision_V5.1_noVAE"
    tiny.sd15_unet().save_pretrained(sd15 / "unet")
    tiny.sd15_vae().save_pretrained(sd15 / "vae")
    save_text_encoder(tiny.sd15_text_encoder(), sd15 / "text_encoder", half=False)
    save_tokenizer(sd15 / "tokenizer")
    (root / "lllyasviel/ic-light").mkdir(parents=True)
    save_file(tiny.iclight_offsets(8), root / "lllyasviel/ic-light/iclight_sd15_fbc.safetensors")
    depth.model.save_pretrained(root / "depth-anything/Depth-Anything-V2-Small-hf")
    depth.processor.save_pretrained(root / "depth-anything/Depth-Anything-V2-Small-hf")
    (root / "Comfy-Org/Real-ESRGAN_repackaged").mkdir(parents=True)
    tiny.union().half().save_pretrained(root / "OzzyGT/controlnet-union-promax-sdxl-1.0", variant="fp16")
    (root / "TheMistoAI/MistoLine/Anyline").mkdir()
    (root / "TheMistoAI/MistoLine/Anyline/MTEED.pth").write_bytes(toy_teed())
    save_file(tiny.upscaler().model.state_dict(),
              root / "Comfy-Org/Real-ESRGAN_repackaged/RealESRGAN_x4plus.safetensors")
    (root / "onnx-community/BiRefNet_lite-ONNX/onnx").mkdir(parents=True)
    (root / "onnx-community/BiRefNet_lite-ONNX/onnx/model.onnx").write_bytes(tiny.matting())
