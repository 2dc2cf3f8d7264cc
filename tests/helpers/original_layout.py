"""Tiny SDXL components as one state dict in the original layout: the way back of diffusers' conversion, written from
the names of Stability-AI/generative-models."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from models.components import SdxlComponents

State = dict[str, torch.Tensor]

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
          "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}
OUTSIDE = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
           "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
           "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def sdxl_checkpoint(parts: SdxlComponents) -> State:
    layers = parts.unet.config.layers_per_block
    unet = {_unet_name(name, layers): value for name, value in parts.unet.state_dict().items()}
    blocks = len(parts.vae.config.block_out_channels)
    vae = dict(_vae_entry(name, value, blocks) for name, value in parts.vae.state_dict().items())
    first = {f"transformer.text_model.{name.removeprefix('text_model.')}": value
             for name, value in parts.text_encoder.state_dict().items()}
    return {
        **{f"model.diffusion_model.{name}": value for name, value in unet.items()},
        **{f"first_stage_model.{name}": value for name, value in vae.items()},
        **{f"conditioner.embedders.0.{name}": value for name, value in first.items()},
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        **{f"conditioner.embedders.1.model.{name}": value
           for name, value in _open_clip(parts.text_encoder_2.state_dict()).items()},
        "conditioner.embedders.1.model.logit_scale": torch.tensor([4.6]),
    }


def _unet_name(name: str, layers: int) -> str:
    for ours, theirs in OUTSIDE.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    place, *rest = name.split(".")
    if place == "mid_block":
        kind, number, *inner = rest
        at = 1 if kind == "attentions" else 2 * int(number)
        return ".".join((f"middle_block.{at}", *_inner(kind, inner)))
    block, kind, number, *inner = rest
    if place == "down_blocks":
        first = 1 + int(block) * (layers + 1)
        if kind == "downsamplers":
            return f"input_blocks.{first + layers}.0.op.{inner[-1]}"
        return ".".join((f"input_blocks.{first + int(number)}", "1" if kind == "attentions" else "0",
                         *_inner(kind, inner)))
    first = int(block) * (layers + 1)
    if kind == "upsamplers":  # after the resnet, and after the attention where the block has one: the first here
        return f"output_blocks.{first + layers}.{2 if block == '0' else 1}.conv.{inner[-1]}"
    return ".".join((f"output_blocks.{first + int(number)}", "1" if kind == "attentions" else "0",
                     *_inner(kind, inner)))


def _inner(kind: str, inner: list[str]) -> list[str]:
    return inner if kind == "attentions" else [RESNET[inner[0]], *inner[1:]]


def _vae_entry(name: str, value: torch.Tensor, blocks: int) -> tuple[str, torch.Tensor]:
    if "mid_block.attentions.0." in name:
        for ours, theirs in ATTENTION.items():
            name = name.replace(f"mid_block.attentions.0.{ours}.", f"mid.attn_1.{theirs}.")
        return name, value[:, :, None, None] if value.dim() == 2 else value
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = name.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
    parts = name.split(".")
    if parts[1] in ("down_blocks", "up_blocks"):
        side, place, block, kind, number, *inner = parts
        at = block if place == "down_blocks" else str(blocks - 1 - int(block))
        what = [f"block.{number}"] if kind == "resnets" else [kind.removesuffix("rs")]
        return ".".join((side, place.removesuffix("_blocks"), at, *what, *inner)), value
    return name, value


def _open_clip(state: Mapping[str, torch.Tensor]) -> State:
    short = {name.removeprefix("text_model."): value for name, value in state.items()}
    found = {"token_embedding.weight": short["embeddings.token_embedding.weight"],
             "positional_embedding": short["embeddings.position_embedding.weight"],
             "text_projection": short["text_projection.weight"].T.contiguous(),
             **{f"ln_final.{end}": short[f"final_layer_norm.{end}"] for end in ("weight", "bias")}}
    for layer in sorted({name.split(".")[2] for name in short if name.startswith("encoder.layers.")}):
        ours, theirs = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for end in ("weight", "bias"):
            found[f"{theirs}attn.in_proj_{end}"] = torch.cat(
                [short[f"{ours}self_attn.{which}_proj.{end}"] for which in "qkv"])
            for name, new in (("self_attn.out_proj", "attn.out_proj"), ("layer_norm1", "ln_1"),
                              ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj")):
                found[f"{theirs}{new}.{end}"] = short[f"{ours}{name}.{end}"]
    return found
