"""The guided filter of He, Sun and Tang (ECCV 2010) with a colour guide, out of box filters.

opencv-contrib has one; a dozen lines spare us its 80 MB. Coefficients are found on a small guide and applied to the
full one (He and Sun, "Fast Guided Filter", 2015): a 12 MP photo costs little more than a 1 MP one.
"""

from __future__ import annotations

import cv2
import numpy as np

from models.pictures import Floats


def guided_filter(target: Floats, guide: Floats, full_guide: Floats, *, radius: int, epsilon: float) -> Floats:
    """`target` (h, w), made to follow the edges of `guide` (h, w, 3), at the size of `full_guide` (H, W, 3): (H, W).

    Within each window of 2 * radius + 1 pixels the result is a linear function of the guide's colour. epsilon: the
    variance (guide in 0..1) below which a window counts as flat and gives its mean. Not clipped: edges may overshoot.
    """
    def mean(values: Floats) -> Floats:
        return np.asarray(cv2.blur(values, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT))

    mean_guide, mean_target = mean(guide), mean(target)
    covariance = mean(guide * target[:, :, None]) - mean_guide * mean_target[:, :, None]
    (rr, rg, rb), (gg, gb), (bb,) = (
        [mean(guide[:, :, i] * guide[:, :, j]) - mean_guide[:, :, i] * mean_guide[:, :, j] + (epsilon if i == j else 0)
         for j in range(i, 3)] for i in range(3))

    # The inverse of the symmetric 3 x 3 matrix of each window by cofactors: np.linalg.solve takes 20 times as long.
    inverse = ((gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb),
               (gb * rb - rg * bb, rr * bb - rb * rb, rb * rg - rr * gb),
               (rg * gb - gg * rb, rb * rg - rr * gb, rr * gg - rg * rg))
    determinant = rr * inverse[0][0] + rg * inverse[0][1] + rb * inverse[0][2]
    slope = np.stack([sum(row[j] * covariance[:, :, j] for j in range(3)) / determinant for row in inverse], axis=2)
    offset = mean_target - np.sum(slope * mean_guide, axis=2)

    size = (full_guide.shape[1], full_guide.shape[0])
    coefficients = cv2.resize(mean(np.dstack([slope, offset])), size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.sum(coefficients[:, :, :3] * full_guide, axis=2) + coefficients[:, :, 3], dtype=np.float32)
