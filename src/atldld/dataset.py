"""An import path of atldld 0.3: `atldld.compat.dataset`."""

from atldld.compat.dataset import *  # noqa: F403
from atldld.compat.dataset import __all__ as __all__
