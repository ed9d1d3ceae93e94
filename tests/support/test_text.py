"""Values in words."""

import pytest

from atldld.support.text import in_words


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "none"),
        ("", "none"),
        (True, "yes"),
        (False, "no"),
        (25.0, "25"),
        (1.5, "1.5"),
        (3, "3"),
        (["image", None], "image, none"),
        ((), "none"),
        ("auto\x1b", "auto\\x1b"),
    ],
)
def test_values_of_options_in_words(value, said):
    """The kind: an error that shows what Python calls a value."""
    assert in_words(value) == said
