"""What every test of the warps may rely on."""

import pytest

from atldld.warp import stain


@pytest.fixture(autouse=True, scope="session")
def scales_made_anew():
    """What is worked out of a scale is kept for ever; a run may not profit from an earlier one.

    Mutants are tested in forks of a process in which the tests have run before.
    """
    for value in vars(stain).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
