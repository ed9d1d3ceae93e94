"""An import path of atldld 0.3: `atldld.compat.utils`."""

from atldld.compat.utils import *  # noqa: F403
from atldld.compat.utils import __all__ as __all__
