"""An import path of atldld 0.3: `atldld.compat.sync`."""

from atldld.compat.sync import *  # noqa: F403
from atldld.compat.sync import __all__ as __all__
