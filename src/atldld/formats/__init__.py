"""Files that other tools open: volumes, sections, displacement fields, QuickNII alignments.

Which file suits which tool, and the axes and units of each, are in ``docs/formats.md``.
"""

from atldld.formats.fields import FIELD_EXTENSIONS, PhysicalField, write_field
from atldld.formats.ome_tiff import write_section
from atldld.formats.quicknii import (
    Alignment,
    anchoring_of,
    forward_of,
    image_name,
    read_alignment,
    write_quicknii,
)
from atldld.formats.volume import (
    beside,
    check_format,
    check_volume,
    known_extensions,
    write_grid,
    write_volume,
)

__all__ = [
    "FIELD_EXTENSIONS",
    "Alignment",
    "PhysicalField",
    "anchoring_of",
    "beside",
    "check_format",
    "check_volume",
    "forward_of",
    "image_name",
    "known_extensions",
    "read_alignment",
    "write_field",
    "write_grid",
    "write_quicknii",
    "write_section",
    "write_volume",
]
