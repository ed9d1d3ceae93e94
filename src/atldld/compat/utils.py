"""0.3 import path for single images, matrices and points."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from atldld.compat.config import user_cache_dir
from atldld.errors import BrokenImageError, InvalidInputError
from atldld.fetch.pictures import decode, verify
from atldld.fetch.session import check_downsample, default_session
from atldld.place import Placement, reference_to_image
from atldld.place.spaces import Plane
from atldld.records import SectionDataSet, SectionImage
from atldld.support.files import whole_file

__all__ = [
    "CommonQueries",
    "abi_get_request",
    "get_2d",
    "get_2d_bulk",
    "get_3d",
    "get_corners_in_ref_space",
    "get_experiment_list_from_gene",
    "get_image",
    "pir_to_xy_API_single",
    "user_cache_dir",
    "xy_to_pir_API_single",
]

Matrix = NDArray[np.float64]

SERVICE_HOST = "api.brain-map.org"


def get_image(
    image_id: int,
    folder: str | Path | None = None,
    expression: bool = False,
    downsample: int = 0,
) -> NDArray[np.uint8]:
    """Return a section image.

    Parameters
    ----------
    image_id : int
        The id of the section image.
    folder : str or pathlib.Path, optional
        Keep a copy ``<image_id>-<downsample>[-expression].jpg`` in this folder, and read it from
        there if it is sound.
    expression : bool
        The expression mask instead.
    downsample : int
        The tier; each halves the sides of the one before.

    Returns
    -------
    numpy.ndarray, shape (height, width, 3), uint8
        RGB.

    Raises
    ------
    ImageNotFoundError
        If there is no such image, or it has no mask.
    ServiceError
        If the image cannot be fetched.
    """
    session = default_session()
    image = SectionImage.from_record(session.image_record(image_id))
    check_downsample(image, downsample)
    if folder is None:
        return session.pixels(image, downsample, expression=expression)
    copy = Path(folder) / f"{image.id}-{downsample}{'-expression' if expression else ''}.jpg"
    try:
        verify(copy, *image.size(downsample))
    except (FileNotFoundError, BrokenImageError):
        cached = session.image(image, downsample, expression=expression)
        if cached.path.suffix != ".jpg":
            return session.pixels(image, downsample, expression=expression, held=cached)
        with whole_file(copy, force=True, sync=False) as temporary:
            temporary.write_bytes(cached.path.read_bytes())
    return decode(copy)


def get_experiment_list_from_gene(gene_name: str, axis: str = "sagittal") -> list[int]:
    """Return the ids of the mouse data sets of a gene that did not fail.

    Parameters
    ----------
    gene_name : str
        The acronym, exactly.
    axis : {"sagittal", "coronal", "transverse"}
        The plane of section.
    """
    rows = default_session().query(
        "SectionDataSet",
        {
            "failed": False,
            "products": {"abbreviation": "Mouse"},
            "plane_of_section": {"name": axis},
            "genes": {"acronym": gene_name},
        },
        order="data_sets.id",
    )
    return [row["id"] for row in rows]


def get_2d(image_id: int, ref2inp: bool = False, add_last: bool = False) -> Matrix:
    """Return the 2-D affine of a section image.

    Parameters
    ----------
    image_id : int
        The id of the section image.
    ref2inp : bool
        ``tvs`` (volume µm → image pixels) instead of ``tsv`` (image pixels → volume µm).
    add_last : bool
        Add the homogeneous row.

    Returns
    -------
    numpy.ndarray, shape (2, 3) or (3, 3), float64
    """
    return _affine_2d(
        SectionImage.from_record(default_session().image_record(image_id)), ref2inp, add_last
    )


def get_2d_bulk(
    dataset_id: int, ref2inp: bool = False, add_last: bool = False
) -> dict[int, tuple[Matrix, int]]:
    """Return the 2-D affines of all images of a data set.

    Parameters
    ----------
    dataset_id : int
        The id of the section data set.
    ref2inp, add_last : bool
        See `get_2d`.

    Returns
    -------
    dict
        image id → (matrix, section number), for every image that has an alignment.
    """
    return {
        image.id: (_affine_2d(image, ref2inp, add_last), image.section_number)
        for image in default_session().dataset(dataset_id).images
        if image.alignment2d is not None
    }


def get_3d(
    dataset_id: int, ref2inp: bool = False, add_last: bool = False, return_meta: bool = False
) -> Matrix | tuple[Matrix, int | None, float | None]:
    """Return the 3-D affine of a data set.

    Parameters
    ----------
    dataset_id : int
        The id of the section data set.
    ref2inp : bool
        ``trv`` (reference µm → volume µm) instead of ``tvr`` (volume µm → reference µm).
    add_last : bool
        Add the homogeneous row.
    return_meta : bool
        Also return the id of the reference space and the section thickness in µm.

    Returns
    -------
    numpy.ndarray, shape (3, 4) or (4, 4), float64
    """
    dataset = default_session().dataset(dataset_id)
    alignment3d, thickness = dataset.check_alignment()
    matrix = _with_last(alignment3d.to_volume if ref2inp else alignment3d.to_reference, add_last)
    return (matrix, dataset.reference_space_id, thickness) if return_meta else matrix


def pir_to_xy_API_single(  # noqa: N802
    p: float, i: float, r: float, dataset_id: int, reference_space: int = 9
) -> tuple[float, float, int, int]:
    """Find one reference point in a data set, as the service would, but locally.

    Parameters
    ----------
    p, i, r : float
        In µm.
    dataset_id : int
        The id of the section data set.
    reference_space : int
        The space of the coordinates. Between 9 and 10 the service mirrors left and right.

    Returns
    -------
    x, y : float
        Full-resolution pixels of the section's box, origin upper left.
    section_number : int
        Of the nearest section that there is, however far it is.
    closest_section_image_id : int
        Its image.
    """
    found = reference_to_image(
        default_session().dataset(dataset_id), [[p, i, r]], space=reference_space
    )
    (x, y), number, image_id = found.xy[0], found.section_numbers[0], found.image_ids[0]
    return float(x), float(y), int(number), int(image_id)


def xy_to_pir_API_single(x: float, y: float, image_id: int) -> tuple[float, float, float]:  # noqa: N802
    """Map one image pixel to the reference space, as the service would, but locally.

    Parameters
    ----------
    x, y : float
        Full-resolution pixels of the section's box, origin upper left.
    image_id : int
        The id of the section image.

    Returns
    -------
    p, i, r : float
        In µm.
    """
    p, i, r = _placement(image_id).to_reference([x, y])
    return float(p), float(i), float(r)


def get_corners_in_ref_space(image_id: int, image_width: int, image_height: int) -> Matrix:
    """Return where the corners of an image lie.

    Parameters
    ----------
    image_id : int
        The id of the section image.
    image_width, image_height : int
        At full resolution, in pixels.

    Returns
    -------
    numpy.ndarray, shape (4, 3), float64
        (p, i, r) in µm of the corners (0, 0), (w, 0), (w, h), (0, h), counted from the upper left.
    """
    w, h = image_width, image_height
    return _placement(image_id).to_reference([(0, 0), (w, 0), (w, h), (0, h)])


def abi_get_request(url: str) -> Any:
    """Return the ``msg`` of an answer of the service.

    Parameters
    ----------
    url : str
        The whole address. The Allen Institute's host is replaced by the one that is set.

    Raises
    ------
    RMAError
        If the service refuses the query.
    """
    session = default_session()
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise InvalidInputError(f"{url!r} is not a web address.")
    base = f"{parts.scheme}://{parts.netloc}"
    if parts.hostname == SERVICE_HOST:
        base = session.settings.api_url
    return session.get(base + parts.path + (f"?{parts.query}" if parts.query else ""))["msg"]


class CommonQueries:
    """Two things that are often asked of a data set."""

    @staticmethod
    def get_reference_space(dataset_id: int) -> int | None:
        """Return the id of the data set's reference space."""
        return default_session().dataset(dataset_id).reference_space_id

    @staticmethod
    def get_axis(dataset_id: int) -> str:
        """Return ``"coronal"``, ``"sagittal"`` or ``"transverse"``."""
        plane_id = default_session().dataset(dataset_id).plane_of_section_id
        return Plane.from_id(plane_id, dataset_id=dataset_id).value


def _placement(image_id: int) -> Placement:
    dataset, image = _dataset_of(image_id)
    return Placement.of(dataset, image)


def _dataset_of(image_id: int) -> tuple[SectionDataSet, SectionImage]:
    session = default_session()
    image = SectionImage.from_record(session.image_record(image_id))
    if image.data_set_id is None:
        raise InvalidInputError(f"Section image {image_id} belongs to no data set.")
    return session.dataset(image.data_set_id), image


def _affine_2d(image: SectionImage, ref2inp: bool, add_last: bool) -> Matrix:
    alignment = image.check_alignment()
    return _with_last(alignment.to_image if ref2inp else alignment.to_volume, add_last)


def _with_last(matrix: Matrix, add_last: bool) -> Matrix:
    if not add_last:
        return matrix
    last = np.zeros((1, matrix.shape[1]))
    last[0, -1] = 1
    return np.vstack((matrix, last))
