"""Solids as signed distances: each function takes points (n, 3), float32, and returns (n,) distances, negative inside.

Units are arbitrary (a product is about one unit tall), y points up and the table is y = 0. Distances may fall short of
the true ones, never exceed them by much: the ray marcher in studio.py steps with that margin.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
Distances = NDArray[np.float32]
Outline = Sequence[tuple[float, float]]


def moved(points: Points, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Points:
    """The points as a solid standing at (x, y, z) sees them."""
    return points - np.array([x, y, z], dtype=np.float32)


def turned(points: Points, degrees: float) -> Points:
    """The points as a solid turned about the vertical axis sees them; positive turns its front to the right."""
    cos, sin = np.float32(np.cos(np.radians(degrees))), np.float32(np.sin(np.radians(degrees)))
    x, y, z = points.T
    return np.stack([cos * x - sin * z, y, sin * x + cos * z], axis=1)


def box(points: Points, half: tuple[float, float, float], rounding: float) -> Distances:
    beyond = np.abs(points) - (np.array(half, dtype=np.float32) - np.float32(rounding))
    outside = np.linalg.norm(np.maximum(beyond, 0), axis=1)
    return outside + np.minimum(beyond.max(axis=1), 0) - np.float32(rounding)


def capsule(points: Points, start: tuple[float, float, float], end: tuple[float, float, float],
            radius: float) -> Distances:
    a, b = np.array(start, dtype=np.float32), np.array(end, dtype=np.float32)
    along = np.clip((points - a) @ (b - a) / np.dot(b - a, b - a), 0, 1)[:, None]
    return np.linalg.norm(points - a - along * (b - a), axis=1) - np.float32(radius)


def ellipsoid(points: Points, radii: tuple[float, float, float]) -> Distances:
    scaled = points / np.array(radii, dtype=np.float32)
    return (np.linalg.norm(scaled, axis=1) - 1) * np.float32(min(radii))


def polygon(across: Distances, up: Distances, outline: Outline) -> Distances:
    """Distance in the plane to a closed polygon given by its corners (across, up), in order."""
    corners = np.array(outline, dtype=np.float32)
    nearest = np.full_like(across, np.inf)
    inside = np.zeros(across.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        edge_x, edge_y = bx - ax, by - ay
        from_x, from_y = across - ax, up - ay
        along = np.clip((from_x * edge_x + from_y * edge_y) / max(edge_x**2 + edge_y**2, np.float32(1e-12)), 0, 1)
        np.minimum(nearest, (from_x - along * edge_x) ** 2 + (from_y - along * edge_y) ** 2, out=nearest)
        if ay != by:
            inside ^= ((up >= ay) != (up >= by)) & (from_x < from_y * (edge_x / edge_y))
    return np.where(inside, -1, 1).astype(np.float32) * np.sqrt(nearest)


def revolved(points: Points, outline: Outline) -> Distances:
    """An outline (radius, height) turned about the vertical axis, as on a lathe."""
    return polygon(np.hypot(points[:, 0], points[:, 2]), points[:, 1], outline)


def both(first: Distances, second: Distances, blend: float) -> Distances:
    """The intersection, its edge rounded over `blend` (Quilez' polynomial smooth maximum)."""
    return -either(-first, -second, blend)


def either(first: Distances, second: Distances, blend: float) -> Distances:
    """The union, its seam filled over `blend` (Quilez' polynomial smooth minimum)."""
    overlap = np.maximum(blend - np.abs(first - second), 0) / np.float32(blend)
    return np.minimum(first, second) - overlap**2 * np.float32(blend / 4)


def softened(outline: Outline, rounds: int = 2) -> Outline:
    """The outline with its corners cut `rounds` times (Chaikin), which tends to a smooth curve."""
    corners = np.array(outline, dtype=np.float64)
    for _ in range(rounds):
        following = np.roll(corners, -1, axis=0)
        cut = [0.75 * corners + 0.25 * following, 0.25 * corners + 0.75 * following]
        corners = np.stack(cut, axis=1).reshape(-1, 2)
    return [(float(x), float(y)) for x, y in corners]
