"""Numbers of sections as people write them."""

import numpy as np
import pytest

from atldld.errors import InvalidInputError
from atldld.support.numbers import pick, read_numbers


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (None, []),
        ("70", [70]),
        (70, [70]),
        (np.int64(70), [70]),
        (["70", "3"], [70, 3]),
        ("5,7-9", [5, 7, 8, 9]),
        (" 5 , 7 - 8 ", [5, 7, 8]),
        ("7–8", [7, 8]),
        (["1-2", 9], [1, 2, 9]),
    ],
)
def test_what_is_meant(written, meant):
    assert [number for part in read_numbers(written) for number in part] == meant


@pytest.mark.parametrize("written", ["", "x", "5-", "-5", "5,,6", "9-7", "5.5", -1, 2.5, True, "٣"])
def test_what_means_nothing(written):
    with pytest.raises(InvalidInputError):
        read_numbers(written)


def test_what_is_there():
    there = [2, 10, 10, 18, None, 26]
    assert pick(read_numbers("10,15-30"), there, "it") == {10, 18, 26}
    with pytest.raises(InvalidInputError, match=r"no section 11 in it; .* nearest are 10 and 18"):
        pick(read_numbers("2,11"), there, "it")
    with pytest.raises(InvalidInputError, match=r"no sections 30 to 40 in it; .* nearest is 26"):
        pick(read_numbers("30-40"), there, "it")
    with pytest.raises(InvalidInputError, match="which has none"):
        pick(read_numbers("1"), [], "it")
