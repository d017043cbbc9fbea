from __future__ import annotations

import re

import numpy as np
import pytest

from saferank.demo.pictures import Picture, pictures

ALL = list(pictures())


def test_there_are_enough_and_no_two_share_a_name_or_title() -> None:
    assert len(ALL) >= 40
    assert len({picture.name for picture in ALL}) == len(ALL)
    assert len({picture.title for picture in ALL}) == len(ALL)


@pytest.mark.parametrize("picture", ALL, ids=lambda picture: picture.name)
def test_a_picture_is_free_opaque_and_always_the_same(picture: Picture) -> None:
    assert re.match(r"CC0$|CC BY 2\.0|public domain$|no known copyright", picture.licence)
    assert picture.source
    assert re.fullmatch(r"[a-z][a-z0-9_-]*", picture.name)  # used as a CSS class and file name
    made = picture.make()
    assert made.mode == "RGB"
    assert min(made.size) >= 90
    pixels = np.asarray(made)
    assert pixels.std() > 2  # a painter that went wrong leaves one flat colour
    np.testing.assert_array_equal(pixels, np.asarray(picture.make()))
