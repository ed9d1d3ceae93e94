"""From ids to verified bytes on disk: the only room that speaks HTTP or touches the cache."""

from atldld.support.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__)
