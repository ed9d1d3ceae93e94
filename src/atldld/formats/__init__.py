"""Files that other tools open: voxels, pictures, displacement fields, QuickNII alignments.

Writers take arrays and placed sections; what makes them stands above. Which file suits which tool,
and the axes and units of each, are in ``docs/formats.md``.
"""

from atldld.support.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__)
