"""The `tiny` weights: the real classes at toy size, drawn from their parameters' names. Nothing is downloaded.

They show the machinery, never picture quality. Each parameter has its own generator, seeded with the CRC32 of its
name, so the same module gives the same weights whatever the order of construction or the library version. The SD 1.5
part is the recipe behind tests/parity/iclight.npz. The recipe's name is models.profiles.TINY_RECIPE.
"""

from __future__ import annotations

import string
import zlib
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, ControlNetModel, ControlNetUnionModel, UNet2DConditionModel
from spandrel import ImageModelDescriptor, ModelLoader
from spandrel.architectures.Compact import Compact
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessor,
)

from models.components import DepthComponents, SdxlComponents
from models.line_detectors import teed_network

Module = TypeVar("Module", bound=torch.nn.Module)

MATTING_SIDE = 64


def name_seeded(module: Module, prefix: str = "") -> Module:
    """Fill `module` in place: matrices ~ N(0, 1/fan_in), norm weights ~ 1 + 0.1 N, other vectors ~ 0.1 N.

    `prefix` tells equal classes apart (three ControlNets must not be one).
    """
    for name, parameter in module.named_parameters():
        generator = torch.Generator().manual_seed(zlib.crc32(f"{prefix}{name}".encode()))
        noise = torch.randn(parameter.shape, generator=generator)
        with torch.no_grad():
            if parameter.dim() > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            elif name.endswith("weight"):
                parameter.copy_(1 + 0.1 * noise)
            else:
                parameter.copy_(0.1 * noise)
    module.eval()
    return module


def tokenizer() -> Any:
    """One token a character: printable ASCII, each also in its end-of-word form."""
    vocabulary: dict[str, int] = {}
    for character in string.printable.strip():
        vocabulary[character] = len(vocabulary)
        vocabulary[character + "</w>"] = len(vocabulary)
    vocabulary["<|startoftext|>"] = 998
    vocabulary["<|endoftext|>"] = 999
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def _clip_config(**changes: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=1000, hidden_size=32, intermediate_size=37, num_hidden_layers=5, num_attention_heads=4,
        hidden_act="gelu", bos_token_id=998, eos_token_id=999, pad_token_id=999, **changes)


def _vae(scaling_factor: float) -> AutoencoderKL:
    """Spatial factor 8, as the real ones: several sizes depend on it."""
    return name_seeded(AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, norm_num_groups=2, layers_per_block=1,
        block_out_channels=(4, 8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, scaling_factor=scaling_factor, force_upcast=False))


SDXL_BLOCKS: dict[str, Any] = {
    "block_out_channels": (32, 64), "layers_per_block": 2, "in_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "attention_head_dim": (2, 4),
    "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
    "transformer_layers_per_block": (1, 2), "projection_class_embeddings_input_dim": 80, "cross_attention_dim": 64,
}


def sdxl() -> SdxlComponents:
    """SDXL's classes: two text encoders of width 32 (64 together), text_time embeddings, 2 UNet levels."""
    return SdxlComponents(
        unet=name_seeded(UNet2DConditionModel(
            sample_size=32, out_channels=4, up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **SDXL_BLOCKS)),
        vae=_vae(0.13025),
        text_encoder=name_seeded(CLIPTextModel(_clip_config(projection_dim=32))),
        text_encoder_2=name_seeded(CLIPTextModelWithProjection(_clip_config(projection_dim=32)), "second."),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
    )


def controlnet(purpose: str) -> ControlNetModel:
    """A ControlNet for `sdxl()`. Drawn, not zero: a fresh ControlNet has no effect and would hide every mistake."""
    net = ControlNetModel(conditioning_embedding_out_channels=(16, 32, 32, 32), **SDXL_BLOCKS)
    return name_seeded(net, f"{purpose}.")


def union() -> ControlNetUnionModel:
    """A ControlNet-Union of eight kinds, ProMax's number, for `sdxl()`."""
    net = ControlNetUnionModel(
        conditioning_embedding_out_channels=(16, 32, 32, 32), num_control_type=8, num_trans_channel=32,
        num_trans_head=4, num_proj_channel=32, **SDXL_BLOCKS)
    return name_seeded(net, "union.")


def sd15_unet() -> UNet2DConditionModel:
    """The base UNet of SD 1.5: four input channels, before IC-Light widens its first convolution."""
    return name_seeded(UNet2DConditionModel(
        sample_size=32, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(32, 64),
        norm_num_groups=2, cross_attention_dim=32, attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D")))


def sd15_text_encoder() -> CLIPTextModel:
    return name_seeded(CLIPTextModel(_clip_config()))


def sd15_vae() -> AutoencoderKL:
    return _vae(0.18215)


def iclight_offsets(condition_channels: int) -> dict[str, torch.Tensor]:
    """A stand-in for iclight_sd15_{fc,fbc}.safetensors: an offset for every key of the widened UNet.

    condition_channels: 4 for fc (foreground), 8 for fbc (foreground and background).
    """
    shapes = {name: value.shape for name, value in sd15_unet().state_dict().items()}
    first = shapes["conv_in.weight"]
    shapes["conv_in.weight"] = torch.Size((first[0], 4 + condition_channels, *first[2:]))
    drawn = {}
    for name, shape in shapes.items():
        generator = torch.Generator().manual_seed(zlib.crc32(f"offset.{name}".encode()))
        drawn[name] = 0.05 * torch.randn(shape, generator=generator)
    return drawn


def depth() -> DepthComponents:
    """Depth Anything at toy size: works at 56 px, any picture."""
    backbone = Dinov2Config(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64, patch_size=14, image_size=56,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False, apply_layernorm=True)
    model = DepthAnythingForDepthEstimation(DepthAnythingConfig(
        backbone_config=backbone, patch_size=14, reassemble_hidden_size=32, neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8, head_hidden_size=8))
    processor = DPTImageProcessor(
        do_resize=True, size={"height": 56, "width": 56}, ensure_multiple_of=14, keep_aspect_ratio=True)
    return DepthComponents(model=name_seeded(model), processor=processor)


def matting_parameters() -> dict[str, torch.Tensor]:
    """Two convolutions drawn by their names, and a blob in the middle: of drawn weights alone no product would come."""
    drawn = {}
    for name, shape in {"first.weight": (8, 3, 3, 3), "first.bias": (8,), "last.weight": (1, 8, 3, 3)}.items():
        generator = torch.Generator().manual_seed(zlib.crc32(f"matting.{name}".encode()))
        fan_in = torch.Size(shape[1:]).numel()
        drawn[name] = torch.randn(shape, generator=generator) / fan_in ** 0.5
    across = torch.linspace(-1, 1, MATTING_SIDE)
    drawn["blob"] = (8 * (1 - (across[:, None] ** 2 + across[None] ** 2) / 0.4))[None, None]
    return drawn


def matting() -> bytes:
    """BiRefNet's shape of things at toy size: an ONNX file that takes (1, 3, 64, 64) and gives logits of a matte."""
    from onnx import TensorProto, helper, numpy_helper

    picture, matte = [1, 3, MATTING_SIDE, MATTING_SIDE], [1, 1, MATTING_SIDE, MATTING_SIDE]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input_image", "first.weight", "first.bias"], ["seen"], pads=[1] * 4),
         helper.make_node("Relu", ["seen"], ["lit"]),
         helper.make_node("Conv", ["lit", "last.weight"], ["told"], pads=[1] * 4),
         helper.make_node("Add", ["told", "blob"], ["output_image"])],
        "tiny-matting", [helper.make_tensor_value_info("input_image", TensorProto.FLOAT, picture)],
        [helper.make_tensor_value_info("output_image", TensorProto.FLOAT, matte)],
        [numpy_helper.from_array(value.numpy(), name) for name, value in matting_parameters().items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))


def upscaler() -> ImageModelDescriptor[Any]:
    """Real-ESRGAN's compact network at toy size, loaded through spandrel as a real file would be."""
    network = name_seeded(Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=2, upscale=4, act_type="prelu"))
    descriptor = ModelLoader().load_from_state_dict(network.state_dict())
    if not isinstance(descriptor, ImageModelDescriptor):
        raise TypeError(f"spandrel read the tiny upscaler as {type(descriptor).__name__}")
    return descriptor.eval()


def teed() -> Any:
    """TEED at its real size: it is tiny by itself.

    Drawn weights put every likelihood near a half, of which TEEDdetector's three levels make one: the last layer of the
    finest output is stretched and lowered, so that all three occur (looked at, 2026-11-21).
    """
    network = name_seeded(teed_network())
    last = network.up_block_1.features[-1]
    with torch.no_grad():
        last.weight.mul_(500)
        last.bias.fill_(-4)
    return network
