"""Where a pixel of a section lies in the brain, and back: pure mathematics, no I/O."""

from atldld.support.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__)
