"""An import path of atldld 0.3: `atldld.compat.requests`."""

from atldld.compat.requests import *  # noqa: F403
from atldld.compat.requests import __all__ as __all__
