"""ControlNet-Union: one net for several kinds of maps (xinsir's controlnet-union-sdxl-1.0; ProMax knows eight kinds).

Two traps of its published form, which diffusers 0.42.1 keeps, are handled here. A kind of scale 0 is not the same as
one left out (its flag and its token stay), so it is left out. And its little transformer attends along the first axis,
which is the batch: pictures of one batch would see each other. A picture's own rows are alike there, so each picture is
given to it alone, as a sequence of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from models.sdxl import unet
from models.sdxl.controls import Prepared, Residuals, residuals_of
from models.sdxl.text import Text

KINDS = {"openpose": 0, "depth": 1, "scribble": 2, "line": 3, "normal": 4, "segment": 5, "tile": 6, "repaint": 7}
"""The places of its type vector (xinsir6/ControlNetPlus); the last two are ProMax's."""


class UnionControl(NamedTuple):
    """net: diffusers.ControlNetUnionModel. maps: (pictures, 3, height, width) in 0..1 for each of `kinds`, numbers as
    in KINDS. scales: of one kind alone it multiplies what the net adds; of several, each its own map's features."""

    net: Any
    maps: Sequence[torch.Tensor]
    kinds: Sequence[int]
    scales: Sequence[float]

    @property
    def idle(self) -> bool:
        return not any(scale > 0 for scale in self.scales)

    def prepare(self, text: Text, size: tuple[int, int], *, keep_hint: bool = True) -> Prepared:
        """See Control.prepare."""
        net, alone = self.net, sum(scale > 0 for scale in self.scales) == 1
        given = [(one.to(text.sequence), kind, 1.0 if alone else scale)
                 for one, kind, scale in zip(self.maps, self.kinds, self.scales, strict=True) if scale > 0 or self.idle]
        output_scale = 0.0 if self.idle else max(self.scales) if alone else 1.0
        told = unet.condition(net, text, size)
        told = told._replace(added=told.added + _kinds_embedded(net, [kind for _, kind, _ in given], told.added))
        hints = [net.controlnet_cond_embedding(one) for one, _, _ in given] if keep_hint else None

        def residuals(rows: torch.Tensor, timestep: torch.Tensor) -> Residuals:
            read = hints or [net.controlnet_cond_embedding(one) for one, _, _ in given]
            repeats = len(rows) // len(read[0])
            hidden = net.conv_in(rows.chunk(repeats)[0])  # the rows of a picture are still alike
            scaled = [(hint, kind, scale) for hint, (_, kind, scale) in zip(read, given, strict=True)]
            fused = hidden + _fused(net, hidden, scaled)
            return residuals_of(net, fused.repeat(repeats, 1, 1, 1), timestep, told, output_scale)

        return residuals


def _kinds_embedded(net: Any, kinds: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """Which kinds are given, as an embedding beside the timestep's: (1, 4 x first width)."""
    flags = torch.zeros(net.config.num_control_type, device=like.device)
    flags[list(kinds)] = 1
    return net.control_add_embedding(net.control_type_proj(flags).reshape(1, -1).to(like.dtype))


def _fused(net: Any, hidden: torch.Tensor, given: Sequence[tuple[torch.Tensor, int, float]]) -> torch.Tensor:
    """What the maps add to (pictures, width, height / 8, width / 8), weighed against each other and the noised picture.

    given: each map's features with their kind and scale."""
    tokens = [(hint.mean(dim=(2, 3)) + net.task_embedding[kind]) * scale for hint, kind, scale in given]
    seen = torch.stack([*tokens, hidden.mean(dim=(2, 3))], dim=1)
    alone = seen.reshape(1, -1, seen.shape[-1])
    for layer in net.transformer_layes:
        alone = layer(alone)
    shifts = net.spatial_ch_projs(alone.reshape(seen.shape)[:, :-1])[..., None, None]
    parts = [(hint + shift) * scale for (hint, _, scale), shift in zip(given, shifts.unbind(1), strict=True)]
    return torch.stack(parts).sum(0)
