"""Files that other tools open: voxels, pictures, displacement fields, QuickNII alignments.

Writers take arrays and placed sections; what makes them stands above. Which file suits which tool,
and the axes and units of each, are in ``docs/formats.md``.
"""

from atldld.formats.displacements import PhysicalField
from atldld.formats.fields import FIELD_EXTENSIONS, write_field
from atldld.formats.quicknii import image_name, write_quicknii
from atldld.formats.voxels import (
    Voxels,
    beside,
    check_format,
    check_volume,
    known_extensions,
    write_voxels,
)

__all__ = [
    "FIELD_EXTENSIONS",
    "PhysicalField",
    "Voxels",
    "beside",
    "check_format",
    "check_volume",
    "image_name",
    "known_extensions",
    "write_field",
    "write_quicknii",
    "write_voxels",
]
