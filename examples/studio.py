"""A small photo studio: sphere tracing in numpy, a key softbox, a strip light, a paper backdrop, a camera.

Everything is linear light until `developed`. Deterministic: no random number but the sensor's, seeded by name.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from solids import Distances, Points

Image = NDArray[np.float32]

OVERSAMPLING = 2     # rays a pixel side; with the lens blur below it gives the mask edges about 1.5 px of true softness
LENS_BLUR = 0.55     # sigma in pixels of the finished photo, a sharp lens at f/8 on a small sensor
CHUNK = 1 << 16      # points per evaluation: the temporaries of one distance stay in the cache
KEY = np.array([-0.55, 0.75, 0.60], dtype=np.float32) / np.float32(np.linalg.norm([-0.55, 0.75, 0.60]))


class Surface(NamedTuple):
    """What the light meets: albedo (n, 3) linear; mirror (3,) or scalar reflectance head-on; roughness 0..1."""

    albedo: Points
    mirror: NDArray[np.float32] | float
    roughness: float


@dataclass(frozen=True, kw_only=True)
class Part:
    """A solid of one material. distance(points) as in solids.py; surface(points) answers for points on it."""

    distance: Callable[[Points], Distances]
    surface: Callable[[Points], Surface]


@dataclass(frozen=True, kw_only=True)
class Backdrop:
    """Seamless paper: sRGB colour 0..1, light pool and fall-off; shadow 0..1 and its sharpness (large = hard edge)."""

    colour: tuple[float, float, float] = (0.88, 0.88, 0.87)
    falloff: float = 0.35
    pool: tuple[float, float] = (0.5, 0.55)
    shadow: float = 0.55
    sharpness: float = 5.0
    wood: bool = False


@dataclass(frozen=True, kw_only=True)
class Still:
    """A product and how it is photographed: size (width, height) in pixels, camera angles in degrees.

    The camera looks at `target` from `distance`, `elevation` above the horizon. glass: a clear shell around the parts.
    """

    parts: Sequence[Part]
    size: tuple[int, int]
    target: tuple[float, float, float]
    distance: float
    elevation: float
    glass: Callable[[Points], Distances] | None = None
    field_of_view: float = 20.0

    def solid(self, points: Points) -> Distances:
        return np.minimum.reduce([part.distance(points) for part in self.parts])


class Shot(NamedTuple):
    """The product as the camera saw it, before any backdrop: all float32, finished size, linear light.

    light (h, w, 3) is premultiplied; alpha (h, w) is coverage times opacity; nearness (h, w) is 1 / distance of
    product, table and wall; visibility (h, w, 2) is the share of key and of ambient light the product leaves the table.
    """

    light: Image
    alpha: Image
    nearness: Image
    visibility: Image


def linear(colour: Sequence[float] | NDArray[np.float32]) -> NDArray[np.float32]:
    """sRGB 0..1 to linear light, by the plain 2.2 power: this camera's own curve."""
    return np.power(np.asarray(colour, dtype=np.float32), np.float32(2.2))


def photographed(still: Still, scale: float = 1.0) -> Shot:
    """Trace the product and its shadow; `scale` shrinks the picture for a quick look."""
    width, height = (round(side * scale) for side in still.size)
    eye, directions = _rays(still, width * OVERSAMPLING, height * OVERSAMPLING)
    light, alpha, travelled = _product(still, eye, directions)
    to_table = eye[1] / np.maximum(-directions[:, 1], 1e-6)
    to_wall = (eye[2] + 2.5) / np.maximum(-directions[:, 2], 1e-6)
    nearness = 1 / np.minimum(travelled, np.minimum(to_table, to_wall))
    fine = (height * OVERSAMPLING, width * OVERSAMPLING)
    visibility = cv2.GaussianBlur(_table(still, width // 2, height // 2), (0, 0), 1.0)  # half size: shadows are soft
    return Shot(
        light=_through_lens(light.reshape(*fine, 3), width, height),
        alpha=_through_lens(alpha.reshape(fine), width, height),
        nearness=cv2.resize(nearness.reshape(fine).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA),
        visibility=cv2.resize(visibility, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1))


def developed(shot: Shot, backdrop: Backdrop, name: str) -> NDArray[np.uint8]:
    """The photo: product over lit paper, sensor noise seeded by the name, 8-bit sRGB."""
    height, width = shot.alpha.shape
    paper = _paper(backdrop, width, height)
    key_left, ambient_left = shot.visibility[:, :, :1], shot.visibility[:, :, 1:]
    paper = paper * (1 - backdrop.shadow * (1 - key_left**backdrop.sharpness)) * (0.15 + 0.85 * ambient_left)
    scene = shot.light + (1 - shot.alpha[:, :, None]) * paper
    exposed = np.where(scene < 0.8, scene, 0.8 + 0.2 * np.tanh((scene - 0.8) / 0.2))  # a shoulder, as film has
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    grain = generator.standard_normal((height, width, 3), dtype=np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), 0.6) * np.float32(1.7)                   # demosaicing correlates neighbours
    noisy = exposed + grain * np.sqrt(np.maximum(exposed, 0) * 1.2e-4 + 3e-6)         # shot noise and a read-out floor
    return np.asarray(np.rint(np.power(noisy.clip(0, 1), 1 / 2.2) * 255), dtype=np.uint8)


def _rays(still: Still, width: int, height: int) -> tuple[Points, Points]:
    """The camera's eye (3,) and one unit direction for each pixel, row by row."""
    elevation = np.radians(still.elevation)
    backward = np.array([0, np.sin(elevation), np.cos(elevation)], dtype=np.float32)
    up = np.array([0, np.cos(elevation), -np.sin(elevation)], dtype=np.float32)
    eye = np.array(still.target, dtype=np.float32) + np.float32(still.distance) * backward
    half = np.tan(np.radians(still.field_of_view / 2))
    across, down = np.meshgrid((np.arange(width) + 0.5) * 2 / width - 1, (np.arange(height) + 0.5) * 2 / height - 1)
    longer = max(width, height)
    right = np.array([1, 0, 0], dtype=np.float32)
    directions = (across.reshape(-1, 1) * (half * width / longer) * right
                  - down.reshape(-1, 1) * (half * height / longer) * up - backward)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return eye, directions.astype(np.float32)


def _chunks(total: int) -> Sequence[slice]:
    return [slice(start, start + CHUNK) for start in range(0, total, CHUNK)]


def _product(still: Still, eye: Points, directions: Points) -> tuple[Points, Distances, Distances]:
    """Premultiplied light (n, 3), alpha (n,) and distance travelled (n,), infinite beside the product."""
    light, alpha = np.zeros_like(directions), np.zeros(len(directions), dtype=np.float32)
    travelled = np.full(len(directions), np.inf, dtype=np.float32)
    for chunk in _chunks(len(directions)):
        rays = directions[chunk]
        reached = _march(still.solid, eye, rays, still.distance)
        hit = np.isfinite(reached)
        light[chunk][hit] = _shaded(still, eye + reached[hit, None] * rays[hit], rays[hit])
        alpha[chunk] = hit
        if still.glass is not None:
            at_glass = _march(still.glass, eye, rays, still.distance)
            seen = at_glass < reached
            points = eye + at_glass[seen, None] * rays[seen]
            light[chunk][seen], alpha[chunk][seen] = _through_glass(
                still.glass, points, rays[seen], light[chunk][seen], alpha[chunk][seen])
            reached = np.minimum(reached, at_glass)
        travelled[chunk] = reached
    return light, alpha, travelled


def _march(solid: Callable[[Points], Distances], eye: Points, rays: Points, distance: float) -> Distances:
    """Sphere tracing: how far each ray goes before it meets the solid; infinite where it never does.

    A ray still creeping along when the steps run out grazes the solid, and counts as met when it is that close.
    """
    reached = np.full(len(rays), distance - 1.6, dtype=np.float32)
    open_rays = np.arange(len(rays))
    met = np.zeros(len(rays), dtype=bool)
    for _ in range(160):
        gap = solid(eye + reached[open_rays, None] * rays[open_rays])
        met[open_rays[gap < 4e-4]] = True
        reached[open_rays] += 0.8 * gap          # smooth unions overstate the gap a little
        open_rays = open_rays[(gap >= 4e-4) & (reached[open_rays] < distance + 2)]
        if not len(open_rays):
            break
    met[open_rays] = solid(eye + reached[open_rays, None] * rays[open_rays]) < 4e-3
    return np.where(met, reached, np.inf).astype(np.float32)


def _normals(solid: Callable[[Points], Distances], points: Points) -> Points:
    """The gradient from four points of a tetrahedron around each."""
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], dtype=np.float32)
    gradient = sum(corner * solid(points + np.float32(1.2e-3) * corner)[:, None] for corner in corners)
    return np.asarray(gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-9))


def _shaded(still: Still, points: Points, rays: Points) -> Points:
    """Light towards the camera from points on the product: key with soft shadow, ambient with occlusion, reflection."""
    if not len(points):
        return np.zeros((0, 3), dtype=np.float32)
    normals = _normals(still.solid, points)
    key_left, ambient_left = _visibility(still, points + normals * np.float32(3e-3), normals)
    key = np.maximum(normals @ KEY, 0) * key_left
    ambient = (0.62 + 0.38 * normals[:, 1]) * ambient_left
    facing = np.maximum(-np.sum(normals * rays, axis=1), 0)[:, None]
    mirrored = rays + 2 * facing * normals
    owner = np.argmin([part.distance(points) for part in still.parts], axis=0)
    light = np.zeros_like(points)
    for index, part in enumerate(still.parts):
        own = owner == index
        surface = part.surface(points[own])
        grazing = (1 - facing[own]) ** 5 * (1 - surface.roughness) ** 2
        fresnel = surface.mirror + (1 - np.asarray(surface.mirror)) * grazing
        diffuse = surface.albedo * (0.85 * key[own] + 0.55 * ambient[own])[:, None]
        glint = surroundings(mirrored[own], surface.roughness)[:, None] * (0.35 + 0.65 * ambient_left[own, None])
        light[own] = diffuse * (1 - np.clip(fresnel, 0, 1)) + fresnel * glint
    return light


def surroundings(directions: Points, roughness: float) -> Distances:
    """The light coming from a direction: dim room, white table, key softbox on the left, strip light on the right."""
    across = np.arctan2(directions[:, 0], directions[:, 2])
    up = np.arcsin(directions[:, 1].clip(-1, 1))
    blur = 0.04 + 1.2 * roughness

    def panel(centre: tuple[float, float], half: tuple[float, float]) -> Distances:
        inside = [np.clip((h - np.abs(value - c)) / blur + 0.5, 0, 1)
                  for value, c, h in zip((across, up), centre, half, strict=True)]
        shape = np.prod([side * side * (3 - 2 * side) for side in inside], axis=0)
        return np.asarray(shape * np.prod([h / (h + blur / 2) for h in half]))

    room = 0.16 + 0.30 * np.clip(up / 1.4 + 0.15, 0, 1) + 0.38 * np.clip(-up / 0.5, 0, 1)
    return room + 4.5 * panel((-0.95, 0.30), (0.22, 0.75)) + 2.2 * panel((1.25, 0.25), (0.12, 0.65))


def _visibility(still: Still, points: Points, normals: Points) -> tuple[Distances, Distances]:
    """How much of the key light and of the ambient light reaches each point, 0..1 (Quilez' distance-field shadows)."""
    key_left = np.ones(len(points), dtype=np.float32)
    travelled = np.full(len(points), 0.012, dtype=np.float32)
    for _ in range(28):
        gap = still.solid(points + travelled[:, None] * KEY)
        np.minimum(key_left, np.clip(7 * gap / travelled, 0, 1), out=key_left)
        travelled += np.clip(gap, 0.012, 0.14)
    ambient_left = np.ones(len(points), dtype=np.float32)
    for step, weight in ((0.02, 0.30), (0.06, 0.25), (0.14, 0.22), (0.30, 0.18)):
        gap = still.solid(points + np.float32(step) * normals)
        ambient_left -= np.float32(weight) * np.clip(1 - gap / np.float32(step), 0, 1)
    return key_left * key_left * (3 - 2 * key_left), ambient_left


def _table(still: Still, width: int, height: int) -> Image:
    """(height, width, 2): key and ambient light left on the table under and around the product; 1 above the horizon."""
    eye, rays = _rays(still, width, height)
    left = np.ones((len(rays), 2), dtype=np.float32)
    for chunk in _chunks(len(rays)):
        down = rays[chunk, 1] < -1e-4
        points = eye - rays[chunk][down] * (eye[1] / rays[chunk][down, 1])[:, None]
        upward = np.broadcast_to(np.array([0, 1, 0], dtype=np.float32), points.shape)
        left[chunk][down] = np.stack(_visibility(still, points, upward), axis=1)
    return left.reshape(height, width, 2)


def _through_glass(glass: Callable[[Points], Distances], points: Points, rays: Points,
                   light: Points, alpha: Distances) -> tuple[Points, Distances]:
    """Light (n, 3) and alpha (n,) through a thin glass wall at `points`: it tints, hides at grazing angles, glints."""
    normals = _normals(glass, points)
    facing = np.maximum(-np.sum(normals * rays, axis=1), 0)
    opacity = 0.10 + 0.62 * (1 - facing) ** 2.2
    glint = (0.05 + 0.95 * (1 - facing) ** 5) * surroundings(rays + 2 * facing[:, None] * normals, 0.0)
    light = light * (1 - opacity[:, None]) + opacity[:, None] * linear((0.62, 0.68, 0.66)) + glint[:, None]
    return light, np.clip(opacity + (1 - opacity) * alpha + glint * (1 - alpha), 0, 1)


def _paper(backdrop: Backdrop, width: int, height: int) -> Image:
    """The lit backdrop without any product: a pool of light that falls off towards the corners, in linear light."""
    across, down = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    away = np.hypot(across - backdrop.pool[0], (down - backdrop.pool[1]) * height / width)
    lit = 1 - backdrop.falloff * np.clip(away / 0.75, 0, 1) ** 1.6
    colour = linear(backdrop.colour) * np.ones((height, width, 1), dtype=np.float32)
    if backdrop.wood:
        colour = colour * _grain(across, down)[:, :, None]
    return np.asarray(colour * lit[:, :, None], dtype=np.float32)


def _grain(across: Image, down: Image) -> Image:
    """A wood-like factor around 1: boards with dark joints, long wavy grain."""
    board = np.floor(down * 5)
    wave = down * 60 + 2.2 * np.sin(across * 3.1 + board * 1.7) + 0.8 * np.sin(across * 7.7 + board * 4.1)
    fibres = 0.16 * np.sin(wave * 2) + 0.10 * np.sin(wave * 5.3 + across * 4) + 0.05 * np.sin(wave * 13.1 + board)
    joint = np.exp(-(((down * 5 - board) - 0.5) ** 2 - 0.25) ** 2 * 3e3)
    return np.asarray((1 + fibres + 0.12 * np.sin(board * 2.6)) * (1 - 0.6 * joint))


def _through_lens(fine: Image, width: int, height: int) -> Image:
    """Average the rays of each pixel, then the lens's own blur."""
    averaged = cv2.resize(fine.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(averaged, (0, 0), LENS_BLUR))
