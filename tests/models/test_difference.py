"""How far two pictures are apart: known ones, to the number."""

import numpy as np
import pytest

from models.difference import difference, stretched
from models.pictures import Picture


def grey(channels: int = 3) -> Picture:
    return np.full((4, 8, channels), 100, dtype=np.uint8)


def test_equal_pictures_are_not_apart() -> None:
    found = difference(grey(), grey())
    assert (found.most, found.mean, found.share) == (0, 0.0, 0.0)
    assert stretched(grey(), grey()).max() == 0


def test_the_largest_level_its_place_the_mean_and_the_share_are_told() -> None:
    other = grey()
    other[2, 5, 1] -= 30
    other[3, 1] += 6
    found = difference(grey(), other)
    assert (found.most, found.x, found.y) == (30, 5, 2)
    assert found.mean == pytest.approx((30 + 3 * 6) / (4 * 8 * 3))
    assert found.share == 2 / 32


def test_alpha_counts_as_a_channel_and_levels_do_not_wrap_around() -> None:
    one, other = grey(4), grey(4)
    one[0, 0, 3], other[0, 0, 3] = 0, 255
    assert difference(one, other).most == 255
    assert difference(other, one).most == 255


def test_the_stretched_picture_is_black_where_equal_white_at_most_and_never_hides_a_level() -> None:
    other = grey()
    other[2, 5] += 100
    other[0, 0] += 1
    drawn = stretched(grey(), other)
    assert drawn.shape == (4, 8, 3)
    assert set(np.unique(drawn)) == {0, 34, 255}
    assert drawn[2, 5].tolist() == [255] * 3
    assert drawn[0, 0].tolist() == [34] * 3


def test_other_shapes_have_no_difference() -> None:
    with pytest.raises(ValueError, match="no difference"):
        difference(grey(3), grey(4))
