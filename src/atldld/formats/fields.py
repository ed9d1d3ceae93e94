"""Displacement fields as files: the format by the file's ending, whole or not at all.

`atldld.formats.displacements` says what they hold, in which units.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atldld.formats.common import LIBRARIES, as_json, need, usable_ending
from atldld.formats.displacements import PhysicalField
from atldld.formats.metaimage import write_mha
from atldld.place.tiers import tier_way
from atldld.support.arguments import check_whole
from atldld.support.files import check_targets, whole_file, whole_folder
from atldld.warp.displacement import DisplacementField

if TYPE_CHECKING:
    from atldld.place.planes import OutputPlane
    from atldld.place.sections import PlacedSection

__all__ = [
    "FIELD_EXTENSIONS",
    "check_field_format",
    "write_field",
]

FIELD_EXTENSIONS = (".mha", ".nii", ".nii.gz", ".npy", ".nrrd", ".ome.zarr", ".zarr")
"""The endings that `write_field` knows."""


def write_field(
    section: PlacedSection,
    plane: OutputPlane,
    path: str | Path,
    *,
    field: DisplacementField | None = None,
    downsample: int = 0,
    force: bool = False,
) -> Path:
    """Write the displacement field of a section; the file's ending says the format.

    =======================  =====================================================
    ending                   what it is
    =======================  =====================================================
    ``.mha``                 MetaImage, needs nothing else
    ``.nrrd``                NRRD (needs pynrrd)
    ``.nii``, ``.nii.gz``    NIfTI-1 with intent vector, as ANTs (needs nibabel)
    ``.ome.zarr``, ``.zarr``  OME-Zarr 0.6, RFC-5 ``displacements`` in µm (zarr)
    ``.npy``                 (rows, columns, 2) float32 in pixels of the tier
                             `downsample`: see `DisplacementField.save`
    =======================  =====================================================

    The first three hold float64 vectors in mm, and ``sitk.DisplacementFieldTransform`` takes
    them as they are read.

    Parameters
    ----------
    section : PlacedSection
        The section.
    plane : OutputPlane
        The output grid and its map to the image, such as ``registered.plane``.
    path : str or pathlib.Path
        The file, or for OME-Zarr the folder.
    field : DisplacementField, optional
        Another map than the plane's own, in pixels of the tier `downsample`.
    downsample : int
        The tier of `field`, and of the pixels in ``.npy``.
    force : bool
        Replace what is there.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InvalidInputError
        If the name has none of these endings, or the field does not fit the plane.
    RecordError
        If the image's record does not give the size of its pixels, which all but ``.npy`` need.
    AtldldError
        If the library for the format is not installed.
    OutputError
        If the file cannot be written, or exists and `force` is false.
    """
    path = Path(path)
    downsample = check_whole(downsample, "downsample", most=62)
    ending = check_field_format(path)
    store = ending.endswith(".zarr")
    check_targets([path], force=force, store=store)
    if ending == ".npy":
        if field is None:
            field = DisplacementField.of(tier_way(plane, downsample), plane.grid.shape)
        field.save(path, force=force)
        return path
    physical = PhysicalField.of(section, plane, field=field, downsample=downsample)
    with (whole_folder if store else whole_file)(path, ending, force=force) as temporary:
        if ending == ".mha":
            write_mha(physical, temporary)
        elif ending == ".nrrd":
            _write_nrrd(physical, temporary)
        elif ending in {".nii", ".nii.gz"}:
            _write_nifti(physical, temporary)
        else:
            from atldld.formats.ome_zarr import write_displacements

            write_displacements(physical, temporary)
    return path


def check_field_format(path: str | Path) -> str:
    """Return the ending of a field's file, and check that its library is installed.

    Raises
    ------
    InvalidInputError
        If the name has none of the endings in `FIELD_EXTENSIONS`.
    AtldldError
        If the library for the format is not installed.
    """
    return usable_ending(path, FIELD_EXTENSIONS, "displacement fields")


def _write_nrrd(field: PhysicalField, path: Path) -> None:
    from atldld.formats.nrrd import save

    step = field.spacing
    header = {
        "space dimension": 2,
        "space directions": np.array([[np.nan, np.nan], [step, 0], [0, step]]),
        "space origin": np.full(2, step / 2),
        "space units": ["mm", "mm"],
        "kinds": ["vector", "domain", "domain"],
        "atldld": as_json(field.provenance, ascii_only=True),
    }
    save(path, field.vectors.transpose(2, 1, 0), header)


def _write_nifti(field: PhysicalField, path: Path) -> None:
    """Write as ANTs does: 5-D, vectors along the fifth axis, in LPS; the grid in NIfTI's RAS."""
    nibabel = need(*LIBRARIES[".nii"])
    step = field.spacing
    affine = np.diag([-step, -step, 1, 1])
    affine[:2, 3] = -step / 2
    data = field.vectors.transpose(1, 0, 2)[:, :, None, None, :]
    image = nibabel.Nifti1Image(data, affine, dtype=np.float64)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm")
    image.header.set_intent("vector")
    image.header.extensions.append(
        nibabel.nifti1.Nifti1Extension("comment", as_json(field.provenance).encode())
    )
    nibabel.save(image, path)
