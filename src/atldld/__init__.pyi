# The public names, and where they are: this list is read by type checkers and by `__init__.py`.

from atldld.api import DataSet as DataSet
from atldld.api import Section as Section
from atldld.api import assess as assess
from atldld.api import build_volume as build_volume
from atldld.api import open_dataset as open_dataset
from atldld.api import quantify as quantify
from atldld.atlas import Atlas as Atlas
from atldld.atlas import StructureGraph as StructureGraph
from atldld.atlas import open_atlas as open_atlas
from atldld.errors import AtldldError as AtldldError
from atldld.fetch import Cache as Cache
from atldld.fetch import Limits as Limits
from atldld.fetch import Session as Session
from atldld.find import Search as Search
from atldld.find import neighbours as neighbours
from atldld.find import search as search
from atldld.place import Affine as Affine
from atldld.place import Grid as Grid
from atldld.place import ImagePoints as ImagePoints
from atldld.place import OutputPlane as OutputPlane
from atldld.place import Placement as Placement
from atldld.place import Plane as Plane
from atldld.place import ReferencePoints as ReferencePoints
from atldld.place import ReferenceSpace as ReferenceSpace
from atldld.place import SectionGeometry as SectionGeometry
from atldld.place import StructureCenter as StructureCenter
from atldld.place import image_to_atlas as image_to_atlas
from atldld.place import image_to_image as image_to_image
from atldld.place import image_to_image_2d as image_to_image_2d
from atldld.place import image_to_reference as image_to_reference
from atldld.place import reference_to_image as reference_to_image
from atldld.place import structure_to_image as structure_to_image
from atldld.quality import DatasetQuality as DatasetQuality
from atldld.quality import SectionQuality as SectionQuality
from atldld.records import SectionDataSet as SectionDataSet
from atldld.records import SectionImage as SectionImage
from atldld.regions.grids import ExpressionGrid as ExpressionGrid
from atldld.regions.grids import fetch_grid as fetch_grid
from atldld.regions.table import RegionTable as RegionTable
from atldld.sections.register import RegisteredSection as RegisteredSection
from atldld.settings import Settings as Settings
from atldld.volume import Volume as Volume
from atldld.warp import DisplacementField as DisplacementField

__version__: str
