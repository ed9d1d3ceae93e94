"""An import path of atldld 0.3: `atldld.compat.constants`."""

from atldld.compat.constants import *  # noqa: F403
from atldld.compat.constants import __all__ as __all__
