"""omni-bg: cut out, place, invent the scene, render it again with its depth locked, relight, mix, upscale."""

from __future__ import annotations

from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State

from flows.job import ProfileName, flow_run_name, run_job
from flows.omni_bg_document import OmniBgParams
from flows.omni_bg_resolve import SCHEMA_VERSION, ResolvedOmniBg, resolve
from flows.runner import Runner
from models.params import (
    CutOutParams,
    DepthParams,
    LinesParams,
    MixParams,
    OutpaintParams,
    PlaceParams,
    RelightParams,
    SdxlParams,
    UpscaleParams,
)
from storage.records import Artifact
from tasks.profiles import outpaint_hole

Which = Literal["first", "second"]


@flow(name="omni-bg", flow_run_name=flow_run_name, persist_result=False)
def omni_bg(params: OmniBgParams, profile: ProfileName = "tiny", refresh: tuple[str, ...] = (),
            ) -> list[str] | State[list[str]]:
    """Regenerate one product picture; returns the uris of what was delivered, the final picture last.

    Args:
        params: The job document.
        profile: Which weights to use.
        refresh: Names of passes to make anew although a result exists.
    """
    return run_job(
        pipeline="omni-bg", requested=params, profile=profile, refresh=refresh, schema_version=SCHEMA_VERSION,
        resolve=resolve, resolved_kind=ResolvedOmniBg, order=order)


def order(resolved: ResolvedOmniBg, profile: str, photo: Artifact, runner: Runner) -> Artifact:
    """The order of the passes, whatever runs them. Returns the final picture."""
    ask = resolved.document
    mask = runner.mask(photo)
    # With a mask nothing is matted: one key, whatever way the house would have taken.
    cutting = CutOutParams() if mask else CutOutParams(backend=resolved.methods.matting)
    product = runner.run("cut_out", cutting, photo=photo, mask=mask)
    layout = PlaceParams(width=ask.width, height=ask.height, object_padding=ask.object_padding,
                         force_center=ask.force_center)
    placed = runner.run("place", layout, product=product)
    renders = [sdxl_params(resolved, "first")]
    if not ask.skip_second_pass:
        renders.append(sdxl_params(resolved, "second"))
    outpaint = lines = None
    if any(params.outpaint_scale for params in renders):
        outpaint = runner.run("outpaint", OutpaintParams(hole=outpaint_hole(profile)), placed=placed)
    else:
        runner.skip("outpaint", "outpaint strength is 0")
    if any(params.line_scale for params in renders):
        lines = runner.run("lines", LinesParams(detector=resolved.methods.lines), placed=placed)
    else:
        runner.skip("lines", "line strength is 0")

    scene = render(runner, "first", renders[0], placed, None, outpaint, lines)
    if ask.skip_second_pass:
        runner.skip("depth", "skip_second_pass", at="second_depth")
        runner.skip("sdxl", "skip_second_pass", at="second")
    else:
        scene = render(runner, "second", renders[1], placed, scene, outpaint, lines)

    if ask.skip_light_pass or ask.light_mix_scale == 0:  # of a light that is not mixed in, nothing would be seen
        why = "skip_light_pass" if ask.skip_light_pass else "light_mix_scale is 0"
        runner.skip("relight", why)
        runner.skip("mix", why)
        relit, lit = None, scene
    else:
        relit, lit = light(runner, resolved, placed, scene)

    if not ask.final_step_upscale_4x:
        runner.skip("place", "final_step_upscale_4x is off", at="placed_large")
        runner.skip("upscale", "final_step_upscale_4x is off")
        return lit
    return enlarge(runner, layout, product=product, placed=placed, scene=scene, relit=relit, lit=lit,
                   light_mix_scale=ask.light_mix_scale)


def render(runner: Runner, at: Which, params: SdxlParams, placed: Artifact, scene: Artifact | None,
           outpaint: Artifact | None, lines: Artifact | None) -> Artifact:
    """Invent the scene (first), or render a given one again with its own depth locked (second).

    The depth of a product before nothing says "nothing behind it", hence the first pass's default strength 0.
    """
    depth = None
    if params.depth_scale > 0:
        depth = runner.run("depth", DepthParams(), at=f"{at}_depth", placed=None if scene else placed, scene=scene)
    else:
        zero = "depth_strength" if params.strength > 0 else "i2i_strength"
        runner.skip("depth", f"{at}_pass_{zero} is 0", at=f"{at}_depth")
    return runner.run("sdxl", params, at=at, placed=placed, scene=scene, depth=depth,
                     outpaint=outpaint if params.outpaint_scale > 0 else None,
                     lines=lines if params.line_scale > 0 else None)


def light(runner: Runner, resolved: ResolvedOmniBg, placed: Artifact, scene: Artifact) -> tuple[Artifact, Artifact]:
    """Relight the product by its scene, then lay only the light's smooth gain onto the product's own pixels.

    Returns the relit picture and the mixed one."""
    ask = resolved.document
    relit = runner.run(
        "relight",
        RelightParams(
            prompt=resolved.light_prompt, negative_prompt=resolved.light_negative_prompt, seed=resolved.light_seed,
            steps=ask.light_pass_steps, guidance_scale=ask.light_pass_guidance_scale),
        placed=placed, scene=scene)
    return relit, runner.run("mix", MixParams(light_mix_scale=ask.light_mix_scale),
                             placed=placed, scene=scene, relit=relit)


def enlarge(runner: Runner, layout: PlaceParams, *, product: Artifact, placed: Artifact, scene: Artifact,
            relit: Artifact | None, lit: Artifact, light_mix_scale: float) -> Artifact:
    """Place the cut-out again on a larger canvas, from the photo's own pixels, and let the scene be enlarged to it."""
    params = UpscaleParams(light_mix_scale=light_mix_scale if relit else 0)
    large = layout.model_copy(update={"width": layout.width * params.factor, "height": layout.height * params.factor})
    placed_large = runner.run("place", large, at="placed_large", product=product)
    unlit = params.light_mix_scale == 0
    return runner.run("upscale", params, placed=placed, lit=lit, product=product, placed_large=placed_large,
                      scene=None if unlit else scene, relit=None if unlit else relit)


def sdxl_params(resolved: ResolvedOmniBg, which: Which) -> SdxlParams:
    """The fields `first_pass_*` or `second_pass_*`; only the first pass starts from a flat background."""
    ask = resolved.document
    knobs = {name: getattr(ask, f"{which}_pass_{name}") for name in (
        "steps", "i2i_strength", "pag_scale", "guidance_scale", "outpaint_strength", "depth_strength", "line_strength")}
    if knobs["i2i_strength"] == 0:  # the start comes back as it is: no map is read
        knobs |= {"outpaint_strength": 0.0, "depth_strength": 0.0, "line_strength": 0.0}
    return SdxlParams(
        prompt=resolved.prompt, negative_prompt=ask.negative_prompt, seed=getattr(resolved, f"{which}_seed"),
        steps=knobs["steps"], strength=knobs["i2i_strength"], pag_scale=knobs["pag_scale"],
        guidance_scale=knobs["guidance_scale"], outpaint_scale=knobs["outpaint_strength"],
        depth_scale=knobs["depth_strength"], line_scale=knobs["line_strength"],
        brightness=ask.background_brightness if which == "first" else None, spacing=resolved.methods.spacing)
