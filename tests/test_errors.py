import inspect
import re

import pytest

from atldld import errors


def _classes():
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value)
        and issubclass(value, Exception)
        and value.__module__ == errors.__name__
    }


def test_everything_is_listed():
    assert errors.__all__ == sorted(errors.__all__)
    assert set(errors.__all__) == {*_classes(), "shown_address"}


def test_the_tree_at_the_top_is_the_tree():
    drawn: dict[str, str | None] = {}
    stack: list[str] = []
    for line in errors.__doc__.splitlines():
        found = re.match(r"\s{4}((?:[│ ] {3}|[├└]── )*)(\w+(?:Error|Warning))\b", line)
        if found:
            depth = len(found[1]) // 4
            stack[depth:] = [found[2]]
            drawn[found[2]] = stack[depth - 1] if depth else None
    for name, cls in _classes().items():
        parent = cls.__bases__[0].__name__
        assert drawn[name] == (parent if parent in _classes() else None), name
    assert set(drawn) == set(_classes())


def test_a_sentence_ids_url_and_what_to_do():
    error = errors.BrokenImageError(
        "The image is broken.", image_id=7, dataset_id=5, url="http://x/y", hint="Try again."
    )
    assert str(error) == "The image is broken. [data set 5, image 7, URL http://x/y] Try again."
    assert str(errors.DatasetNotFoundError("No data set 5.", dataset_id=5)) == "No data set 5."


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.InvalidInputError, ValueError),
        (errors.DatasetNotFoundError, LookupError),
        (errors.NetworkError, ConnectionError),
        (errors.ServiceTimeoutError, TimeoutError),
        (errors.CacheError, OSError),
        (errors.OutputError, OSError),
    ],
)
def test_builtin_bases(cls, builtin):
    with pytest.raises(builtin, match="No luck"):
        raise cls("No luck.", image_id=3)
