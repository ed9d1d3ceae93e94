"""An import path of atldld 0.3: `atldld.compat.config`."""

from atldld.compat.config import *  # noqa: F403
from atldld.compat.config import __all__ as __all__
