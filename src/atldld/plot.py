"""An import path of atldld 0.3: `atldld.compat.plot`."""

from atldld.compat.plot import *  # noqa: F403
from atldld.compat.plot import __all__ as __all__
