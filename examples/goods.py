"""The sample products: six stills built from solids, each a few parts with a material, and their backdrops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from prints import Artwork, dial, label, lookup, printed, shoe_panels
from solids import (
    Distances,
    Outline,
    Points,
    both,
    box,
    capsule,
    either,
    ellipsoid,
    moved,
    polygon,
    revolved,
    softened,
    turned,
)
from studio import Backdrop, Part, Still, Surface, linear

PLASTIC, PAINT, CARD, LEATHER = (0.04, 0.12), (0.05, 0.05), (0.03, 0.65), (0.04, 0.45)


def plain(colour: tuple[float, float, float], finish: tuple[float, float]) -> Callable[[Points], Surface]:
    """One sRGB colour and a finish (mirror reflectance, roughness)."""
    def surface(points: Points) -> Surface:
        return Surface(np.tile(linear(colour), (len(points), 1)), *finish)
    return surface


def metal(colour: tuple[float, float, float], roughness: float) -> Callable[[Points], Surface]:
    def surface(points: Points) -> Surface:
        return Surface(np.tile(linear(colour) * np.float32(0.12), (len(points), 1)), linear(colour), roughness)
    return surface


def wrapped(points: Points, artwork: Artwork, degrees: float, low: float, high: float) -> NDArray[np.float32]:
    """Artwork around the vertical axis, facing the camera, `degrees` wide, from height `low` to `high`."""
    around = np.degrees(np.arctan2(points[:, 0], points[:, 2])) / np.float32(degrees)
    return lookup(artwork, around + np.float32(0.5), (points[:, 1] - low) / np.float32(high - low))


def bottle() -> Still:
    body = softened([(0, 0.0), (0.20, 0.0), (0.24, 0.0), (0.25, 0.02), (0.25, 0.06), (0.25, 0.54), (0.25, 0.62),
                     (0.24, 0.70), (0.15, 0.75), (0.09, 0.80), (0.085, 0.86), (0.085, 0.93), (0, 0.93)])
    cap: Outline = [(0, 0.90), (0.10, 0.90), (0.105, 0.905), (0.105, 1.035), (0.09, 1.05), (0, 1.05)]
    front = label((1100, 900), "#f3ead6", "#23402f", (
        ("NORDLYS", 150, 0.24), ("cold pressed", 74, 0.42), ("RAPESEED OIL", 104, 0.56),
        ("from the Baltic coast", 58, 0.71), ("500 ml", 66, 0.84)), frame=7)

    def glaze(points: Points) -> Surface:
        green = np.tile(linear((0.16, 0.33, 0.20)), (len(points), 1))
        return Surface(printed(green, wrapped(points, front, 150, 0.12, 0.54)), 0.05, 0.04)

    return Still(
        parts=(Part(distance=lambda p: revolved(p, body) - np.float32(0.008), surface=glaze),
               Part(distance=lambda p: revolved(p, cap) - np.float32(0.006),
                    surface=plain((0.10, 0.10, 0.11), PLASTIC))),
        size=(750, 1000), target=(0, 0.51, 0), distance=4.0, elevation=9)


def mug() -> Still:
    outer: Outline = [(0, 0.0), (0.27, 0.0), (0.31, 0.03), (0.33, 0.10), (0.34, 0.70), (0, 0.70)]
    hollow: Outline = [(0, 0.05), (0.26, 0.05), (0.30, 0.12), (0.312, 0.80), (0, 0.80)]
    front = label((1000, 800), None, "#f7f1e3", (
        ("GOOD", 230, 0.30), ("MORNING", 190, 0.55), ("small batch coffee", 82, 0.76)))

    def body(points: Points) -> Distances:
        cup = both(revolved(points, outer) - np.float32(0.01), -revolved(points, hollow), 0.02)
        ear = moved(points, 0.34, 0.37)
        ring = np.hypot(ear[:, 0] / 0.95, ear[:, 1] / 1.12) - np.float32(0.20)
        loop = np.hypot(ring, ear[:, 2] * 0.8) - np.float32(0.036)
        return either(cup, np.maximum(loop, -revolved(points, outer)), 0.03)

    def enamel(points: Points) -> Surface:
        blue, cream = linear((0.13, 0.30, 0.52)), linear((0.93, 0.90, 0.83))
        inside = (np.hypot(points[:, 0], points[:, 2]) < 0.325) & (points[:, 1] > 0.15)
        rim = np.clip((points[:, 1] - 0.688) / 0.004, 0, 1)
        share = np.where(inside, 1, rim)[:, None].astype(np.float32)
        around = blue * (1 - share) + cream * share
        return Surface(printed(around, wrapped(points, front, 105, 0.12, 0.62) * ~inside[:, None]), 0.05, 0.03)

    return Still(parts=(Part(distance=lambda p: body(turned(p, 12)), surface=lambda p: enamel(p)),),
                 size=(1000, 800), target=(0.08, 0.33, 0), distance=3.6, elevation=17)


def shoe_box() -> Still:
    turn = 28.0
    side = label((1400, 560), None, "#fff6ea", (("STRIDE", 300, 0.40), ("running shoes  EU 42", 96, 0.76)))
    end = label((560, 420), "#fbfaf6", "#22201d", (
        ("STRIDE 3", 96, 0.20), ("MEN  EU 42  UK 8", 56, 0.42), ("teal / coral", 56, 0.58),
        ("7 350 021 904 118", 50, 0.80)), frame=4)

    def card(points: Points) -> Surface:
        local = turned(points, turn)
        orange = np.tile(linear((0.86, 0.38, 0.13)), (len(points), 1))
        length = lookup(side, (local[:, 0] + 0.56) / np.float32(1.12), (local[:, 1] - 0.01) / np.float32(0.32))
        width = lookup(end, (local[:, 2] + 0.22) / np.float32(0.44), (local[:, 1] - 0.03) / np.float32(0.28))
        on_length, on_end = local[:, 2:] > 0.355, local[:, :1] < -0.615
        return Surface(printed(printed(orange, length * on_length), width * on_end), *CARD)

    def lid(points: Points) -> Surface:
        local = turned(points, turn)
        top = label((1400, 800), None, "#f0a35c", (("STRIDE", 330, 0.5),))
        black = np.tile(linear((0.13, 0.12, 0.12)), (len(points), 1))
        found = lookup(top, (local[:, 0] + 0.56) / np.float32(1.12), (0.32 - local[:, 2]) / np.float32(0.64))
        return Surface(printed(black, found * (local[:, 1:2] > 0.475)), *CARD)

    def slab(middle: float, half: tuple[float, float, float]) -> Callable[[Points], Distances]:
        return lambda points: box(moved(turned(points, turn), 0, middle, 0), half, 0.007)

    return Still(
        parts=(Part(distance=slab(0.20, (0.62, 0.20, 0.36)), surface=card),
               Part(distance=slab(0.42, (0.635, 0.06, 0.375)), surface=lid)),
        size=(1000, 750), target=(0, 0.20, 0), distance=5.2, elevation=21)


def glass_jar() -> Still:
    wall: Outline = [(0, 0.0), (0.26, 0.0), (0.29, 0.03), (0.29, 0.56), (0.275, 0.62), (0.22, 0.66), (0.215, 0.72),
                     (0, 0.72)]
    fill: Outline = [(0, 0.035), (0.25, 0.035), (0.268, 0.055), (0.268, 0.42), (0, 0.42)]
    lid: Outline = [(0, 0.685), (0.235, 0.685), (0.24, 0.69), (0.24, 0.79), (0.225, 0.805), (0, 0.805)]
    front = label((900, 700), "#fffaf0", "#7a2d12", (
        ("Bitter Orange", 118, 0.24), ("MARMALADE", 104, 0.44), ("thick cut, 62 % fruit", 60, 0.64),
        ("340 g", 66, 0.82)), frame=6)

    def marmalade(points: Points) -> Surface:
        x, y, z = points.T
        ripple = np.sin(x * 31 + 2 * np.sin(y * 23)) * np.sin(y * 27 + z * 19)
        amber = linear((0.90, 0.47, 0.08)) * (1 + 0.22 * ripple[:, None])
        return Surface(amber.astype(np.float32), 0.04, 0.10)

    def paper(points: Points) -> Surface:
        return Surface(wrapped(points, front, 124, 0.115, 0.395)[:, :3], *CARD)

    def sleeve(points: Points) -> Distances:
        ring = np.abs(np.hypot(points[:, 0], points[:, 2]) - np.float32(0.2985)) - np.float32(0.0015)
        around = (np.abs(np.arctan2(points[:, 0], points[:, 2])) - np.float32(np.radians(62))) * np.float32(0.29)
        return np.maximum.reduce([ring, around, np.abs(points[:, 1] - np.float32(0.255)) - np.float32(0.14)])

    return Still(
        parts=(Part(distance=lambda p: revolved(p, fill), surface=marmalade),
               Part(distance=lambda p: revolved(p, lid) - np.float32(0.006), surface=metal((0.86, 0.68, 0.34), 0.16)),
               Part(distance=sleeve, surface=paper)),
        glass=lambda p: revolved(p, wall) - np.float32(0.004),
        size=(800, 1000), target=(0, 0.39, 0), distance=3.4, elevation=8)


def watch() -> Still:
    turn = 24.0
    centre = (0.0, 0.47, 0.375)

    def at_case(points: Points) -> Points:
        """Case coordinates: the dial's axis becomes y, as on the lathe."""
        x, y, z = moved(turned(points, turn), *centre).T
        return np.stack([x, z, -y], axis=1)

    case: Outline = [(0, -0.05), (0.21, -0.05), (0.235, -0.03), (0.235, 0.03), (0.225, 0.055), (0.205, 0.06),
                     (0.198, 0.03), (0, 0.03)]
    face: Outline = [(0, 0.0), (0.200, 0.0), (0.200, 0.048), (0, 0.048)]

    def metalwork(points: Points) -> Distances:
        local = at_case(points)
        corner = np.stack([np.abs(local[:, 0]), local[:, 1], np.abs(local[:, 2])], axis=1)
        lug = capsule(corner, (0.125, -0.01, 0.17), (0.140, -0.065, 0.262), 0.024)
        crown = capsule(local, (0.24, 0.005, 0), (0.272, 0.005, 0), 0.024)
        return either(revolved(local, case) - np.float32(0.006), either(lug, crown, 0.01), 0.015)

    def strap(points: Points) -> Distances:
        x, y, z = turned(points, turn).T
        y, z = y - np.float32(centre[1]), z - np.float32(-0.02)
        radius = np.hypot(y / 0.435, z / 0.40)
        band = np.abs((radius - 1) * np.float32(0.41)) - np.float32(0.020)
        width = np.abs(x) - np.float32(0.112)
        return both(band, width, 0.02)

    def leather(points: Points) -> Surface:
        x = turned(points, turn)[:, 0]
        y = points[:, 1]
        stitch = (np.abs(np.abs(x) - 0.092) < 0.004) & (np.sin(y * 130) > -0.3)
        brown = linear((0.42, 0.24, 0.14)) * (1 + 0.06 * np.sin(x * 210) * np.sin(y * 190))[:, None]
        return Surface(np.where(stitch[:, None], linear((0.85, 0.74, 0.58)), brown).astype(np.float32), *LEATHER)

    def crystal(points: Points) -> Surface:
        across, _, down = at_case(points).T / np.float32(0.40)
        found = lookup(dial(900), np.float32(0.5) + across, np.float32(0.5) - down)
        return Surface(found[:, :3], 0.04, 0.05)

    return Still(
        parts=(Part(distance=metalwork, surface=metal((0.80, 0.81, 0.83), 0.10)),
               Part(distance=lambda p: revolved(at_case(p), face), surface=crystal),
               Part(distance=strap, surface=leather)),
        size=(800, 1000), target=(0.06, 0.43, 0.1), distance=3.3, elevation=12)


def sneaker() -> Still:
    turn = -16.0
    upper_side = softened([(-0.62, 0.06), (-0.64, 0.26), (-0.60, 0.50), (-0.56, 0.545), (-0.42, 0.47), (-0.26, 0.48),
                           (-0.17, 0.52), (-0.06, 0.44), (0.22, 0.28), (0.46, 0.22), (0.63, 0.17), (0.68, 0.06)])
    sole_side = softened([(-0.66, 0.01), (-0.68, 0.14), (-0.30, 0.11), (0.2, 0.10), (0.56, 0.12), (0.715, 0.16),
                          (0.70, 0.06), (0.58, 0.0), (0.2, 0.0), (-0.55, 0.0)], 3)
    footprint = softened([(-0.70, 0.0), (-0.68, 0.13), (-0.45, 0.19), (-0.1, 0.16), (0.25, 0.21), (0.55, 0.21),
                          (0.74, 0.10), (0.76, 0.0), (0.74, -0.12), (0.55, -0.19), (0.25, -0.20), (-0.1, -0.18),
                          (-0.45, -0.19), (-0.68, -0.13)], 3)

    def local_of(points: Points) -> Points:
        return turned(points, turn)

    def upper(points: Points) -> Distances:
        x, y, z = local_of(points).T
        narrower = z * (1 + 0.75 * np.clip(y - 0.10, 0, 1))          # the shoe leans in towards the ankle
        body = both(polygon(x, y, upper_side), polygon(x, narrower, footprint) - np.float32(0.012), 0.10)
        throat = ellipsoid(moved(local_of(points), -0.38, 0.62, 0), (0.24, 0.25, 0.095))
        return both(body * np.float32(0.85), -throat, 0.03)

    def sole(points: Points) -> Distances:
        x, y, z = local_of(points).T
        return both(polygon(x, y, sole_side), polygon(x, z, footprint), 0.035)

    def laces(points: Points) -> Distances:
        mirrored = local_of(points)
        mirrored[:, 2] = np.abs(mirrored[:, 2])
        rows = [capsule(mirrored, (x, y, 0), (x - 0.035, y - 0.055, 0.125), 0.016)
                for x, y in ((0.0, 0.425), (0.075, 0.385), (0.15, 0.345), (0.225, 0.31))]
        return np.minimum.reduce(rows)

    def canvas(points: Points) -> Surface:
        local = local_of(points)
        teal = linear((0.13, 0.47, 0.49)) * (1 + 0.07 * np.sin(local[:, 0] * 260) * np.sin(local[:, 1] * 260))[:, None]
        across, up = (local[:, 0] + 0.68) / np.float32(1.36), (local[:, 1] - 0.06) / np.float32(0.50)
        found = lookup(shoe_panels((1400, 520)), across, up)
        inside = ellipsoid(moved(local, -0.38, 0.62, 0), (0.24, 0.25, 0.095)) < 0.012
        shell = printed(teal.astype(np.float32), found * (np.abs(local[:, 2:]) > 0.05))
        return Surface(np.where(inside[:, None], linear((0.20, 0.22, 0.24)), shell), 0.03, 0.6)

    def rubber(points: Points) -> Surface:
        local = local_of(points)
        white, coral = linear((0.95, 0.94, 0.91)), linear((0.95, 0.46, 0.34))
        line = (local[:, 1:2] > 0.028) & (local[:, 1:2] < 0.042)
        return Surface(np.where(line, coral, np.tile(white, (len(points), 1))), 0.04, 0.4)

    return Still(
        parts=(Part(distance=upper, surface=canvas), Part(distance=sole, surface=rubber),
               Part(distance=laces, surface=plain((0.95, 0.95, 0.93), CARD))),
        size=(1000, 700), target=(0.02, 0.24, 0), distance=5.0, elevation=13)


STILLS: dict[str, Callable[[], Still]] = {
    "bottle": bottle, "mug": mug, "shoe-box": shoe_box, "glass-jar": glass_jar, "watch": watch, "sneaker": sneaker}

BACKDROPS: dict[str, Backdrop] = {
    "bottle": Backdrop(colour=(0.95, 0.95, 0.94), falloff=0.25),
    "mug": Backdrop(colour=(0.97, 0.95, 0.92), falloff=0.25),
    "shoe-box": Backdrop(colour=(0.80, 0.82, 0.84), falloff=0.40, pool=(0.45, 0.5)),
    "glass-jar": Backdrop(colour=(0.86, 0.88, 0.90), falloff=0.30),
    "watch": Backdrop(colour=(0.95, 0.94, 0.93), falloff=0.30),
    "sneaker": Backdrop(colour=(0.66, 0.69, 0.71), falloff=0.45, pool=(0.5, 0.5))}

HARDER: dict[str, tuple[str, Backdrop]] = {
    "hard-wood": ("bottle", Backdrop(colour=(0.66, 0.46, 0.29), falloff=0.35, wood=True)),
    "hard-same-colour": ("shoe-box", Backdrop(colour=(0.85, 0.47, 0.25), falloff=0.40)),
    "hard-shadow": ("mug", Backdrop(colour=(0.86, 0.86, 0.86), falloff=0.30, shadow=0.88, sharpness=0.6))}
