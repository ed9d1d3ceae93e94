import atldld


def test_everything_that_is_listed_is_there():
    assert atldld.__all__ == sorted(atldld.__all__)
    for name in atldld.__all__:
        assert getattr(atldld, name) is not None
        assert name in dir(atldld)
    assert set(atldld._HOMES) | {"__version__"} == set(atldld.__all__)
