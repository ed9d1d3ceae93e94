"""An import path of atldld 0.3: `atldld.compat.base`."""

from atldld.compat.base import *  # noqa: F403
from atldld.compat.base import __all__ as __all__
