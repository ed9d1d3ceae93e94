"""0.3 import path for synchronisation and for downloading data sets, with 0.3's formulas.

These keep atldld 0.3's conventions: pixel k of a picture stands for the coordinate
k · ``downsample_ref`` (not its centre), a tier's pixel for 2^d times its index, and sagittal
pictures are p × i. New work is better served by `atldld.open_dataset`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.compat.constants import AFFINE_TEMPLATES
from atldld.compat.requests import RMAParameters, rma_all
from atldld.compat.utils import get_image
from atldld.errors import (
    AtldldError,
    DatasetNotFoundError,
    InvalidInputError,
    SkippedImageWarning,
)
from atldld.fetch.session import Session, check_id, default_session
from atldld.place import Placement
from atldld.place.affine import apply_affine_to_columns
from atldld.place.spaces import BOX, Plane
from atldld.records import SectionDataSet, SectionImage
from atldld.support.pipeline import fetch_then_work
from atldld.warp.displacement import DisplacementField

__all__ = [
    # scripts written for 0.3 also take these from here
    "AFFINE_TEMPLATES",
    "DatasetDownloader",
    "DatasetNotFoundError",
    "DisplacementField",
    "RMAParameters",
    "download_dataset",
    "download_parallel_dataset",
    "get_image",
    "get_parallel_transform",
    "pir_to_xy",
    "rma_all",
    "xy_to_pir",
]

Matrix = NDArray[np.float64]
Pixels = NDArray[np.uint8]


def xy_to_pir(coords_img: ArrayLike, affine_2d: ArrayLike, affine_3d: ArrayLike) -> Matrix:
    """Map image coordinates to reference coordinates.

    Parameters
    ----------
    coords_img : array-like, shape (3, N)
        Rows: x, y in full-resolution pixels, and section number × section thickness in µm.
    affine_2d : array-like, shape (2, 3) or (3, 3)
        ``tsv`` (see `atldld.utils.get_2d`).
    affine_3d : array-like, shape (3, 4) or (4, 4)
        ``tvr`` (see `atldld.utils.get_3d`).

    Returns
    -------
    numpy.ndarray, shape (3, N), float64
        Rows: p, i, r in µm.
    """
    points = _columns(coords_img, "rows x, y (pixels) and section_number × thickness (µm)")
    tsv, tvr = _matrix(affine_2d, 2), _matrix(affine_3d, 3)
    # both steps as one: [p, i, r] = combined @ [x, y, s, 1]
    combined = np.column_stack(
        (tvr[:, :2] @ tsv[:, :2], tvr[:, 2], tvr[:, :2] @ tsv[:, 2] + tvr[:, 3])
    )
    return apply_affine_to_columns(combined, points)


def pir_to_xy(coords_ref: ArrayLike, affine_2d: ArrayLike, affine_3d: ArrayLike) -> Matrix:
    """Map reference coordinates to image coordinates.

    Parameters
    ----------
    coords_ref : array-like, shape (3, N)
        Rows: p, i, r in µm.
    affine_2d : array-like, shape (2, 3) or (3, 3)
        ``tvs``.
    affine_3d : array-like, shape (3, 4) or (4, 4)
        ``trv``.

    Returns
    -------
    numpy.ndarray, shape (3, N), float64
        Rows: x, y in full-resolution pixels, and section number × section thickness in µm.
    """
    points = _columns(coords_ref, "rows p, i, r in µm")
    return apply_affine_to_columns(_reference_to_image(affine_2d, affine_3d), points)


def get_parallel_transform(
    slice_coordinate: float,
    affine_2d: ArrayLike,
    affine_3d: ArrayLike,
    axis: str = "coronal",
    downsample_ref: int = 1,
    downsample_img: int = 0,
) -> DisplacementField:
    """Return the field that shows a section on a plane of constant third coordinate.

    Parameters
    ----------
    slice_coordinate : float
        The third coordinate, in µm.
    affine_2d : array-like, shape (2, 3) or (3, 3)
        ``tvs``.
    affine_3d : array-like, shape (3, 4) or (4, 4)
        ``trv``.
    axis : {"coronal", "sagittal", "transverse"}
        The plane of section. Rows × columns are i × r, p × i and p × r.
    downsample_ref : int
        Side of an output pixel, in µm.
    downsample_img : int
        The tier of the image to warp.
    """
    try:
        plane = Plane(axis)
    except ValueError:
        raise InvalidInputError(
            f"The axis is {axis!r}, but must be 'coronal', 'sagittal' or 'transverse'."
        ) from None
    if isinstance(downsample_ref, bool) or not downsample_ref > 0:
        raise InvalidInputError(
            f"downsample_ref is {downsample_ref}, but must be a positive number of µm."
        )
    row_axis, column_axis = plane.axes("0.3")
    # [column, row, 1] -> [p, i, r, 1], at 0.3's corners of pixels
    spread = np.zeros((4, 3))
    spread[column_axis, 0] = spread[row_axis, 1] = downsample_ref
    spread[plane.depth_axis, 2] = slice_coordinate
    spread[3, 2] = 1
    to_tier = (_reference_to_image(affine_2d, affine_3d) @ spread)[:2] / 2**downsample_img
    shape = int(BOX[row_axis] // downsample_ref), int(BOX[column_axis] // downsample_ref)
    return DisplacementField.from_matrix(to_tier, shape)


class DatasetDownloader:
    """Downloads the images of a data set with the field that places each of them.

    Parameters
    ----------
    dataset_id : int
        The id of the section data set.
    downsample_ref : int
        Side of an output pixel, in µm.
    detection_xy : tuple of 2 float
        Full-resolution pixel at which the third coordinate of each section is taken.
    include_expression : bool
        Download the expression masks too.
    downsample_img : int
        The tier of the images.
    """

    def __init__(
        self,
        dataset_id: int,
        downsample_ref: int = 25,
        detection_xy: tuple[float, float] = (0, 0),
        include_expression: bool = False,
        downsample_img: int = 0,
    ) -> None:
        self.dataset_id = check_id(dataset_id, "section data set")
        self.downsample_ref = downsample_ref
        self.detection_xy = detection_xy
        self.include_expression = include_expression
        self.downsample_img = downsample_img
        self.metadata: dict[str, Any] = {}
        self._dataset: SectionDataSet | None = None

    def fetch_metadata(self, force_redownload: bool = False) -> None:
        """Fetch the matrices of the data set and its images into `metadata`.

        Parameters
        ----------
        force_redownload : bool
            Ask the service even if they are in the cache.

        Raises
        ------
        DatasetNotFoundError
            If there is no such data set.
        """
        self._dataset = default_session().dataset(self.dataset_id, refresh=force_redownload)
        alignment3d, thickness = self._dataset.check_alignment()
        self.metadata = {
            "dataset": {
                "id": self._dataset.id,
                "affine_tvr": alignment3d.to_reference,
                "affine_trv": alignment3d.to_volume,
                "plane_of_section_id": self._dataset.plane_of_section_id,
                "section_thickness": thickness,
            },
            "images": [
                {
                    "id": image.id,
                    "affine_tsv": image.alignment2d.to_volume,
                    "affine_tvs": image.alignment2d.to_image,
                    "section_number": image.section_number,
                }
                for image in reversed(self._dataset.images)
                if image.alignment2d is not None
            ],
        }

    def __len__(self) -> int:
        if not self.metadata:
            self.fetch_metadata()
        return len(self.metadata["images"])

    def run(
        self,
    ) -> Iterator[tuple[int, float, Pixels, Pixels | None, DisplacementField]]:
        """Yield every section, the highest section number first.

        Yields
        ------
        image_id : int
            The id of the section image.
        p : float
            The third coordinate, in µm: p, i or r for coronal, transverse or sagittal sets.
        img : numpy.ndarray, shape (height, width, 3), uint8
            RGB pixels.
        img_expression : numpy.ndarray or None
            The expression mask, of the same shape, if it was asked for and there is one.
        df : DisplacementField
            Takes both to the reference space.

        Raises
        ------
        AlignmentMissingError
            If no image of the data set has an alignment2d.

        Warns
        -----
        SkippedImageWarning
            If an image cannot be fetched or placed; the others follow.
        """
        if self._dataset is None:
            self.fetch_metadata()
        dataset = cast(SectionDataSet, self._dataset)
        session = default_session()
        plane = Plane.from_id(dataset.plane_of_section_id, dataset_id=dataset.id)
        # one worker: the next image is decoded while the caller works on this one
        for result in fetch_then_work(
            dataset.aligned_images()[::-1],
            lambda image: self._fetch(session, image),
            lambda image, _: self._place(session, dataset, plane, image),
            fetchers=session.limits.in_flight,
            workers=1,
        ):
            if isinstance(result, AtldldError):
                session.report(SkippedImageWarning(f"Left out: {result}"))
            else:
                yield result

    def _fetch(self, session: Session, image: SectionImage) -> None:
        """Fetch the files into the cache; an error is raised when the section's turn comes."""
        try:
            session.image(image, self.downsample_img)
            if self.include_expression and image.has_expression_mask:
                session.image(image, self.downsample_img, expression=True)
        except AtldldError:
            pass

    def _place(
        self, session: Session, dataset: SectionDataSet, plane: Plane, image: SectionImage
    ) -> tuple[int, float, Pixels, Pixels | None, DisplacementField] | AtldldError:
        try:
            alignment3d, _ = dataset.check_alignment()
            point = Placement.of(dataset, image).to_reference(self.detection_xy)
            coordinate = float(point[plane.depth_axis])
            field = get_parallel_transform(
                coordinate,
                image.check_alignment().to_image,
                alignment3d.to_volume,
                plane.value,
                self.downsample_ref,
                self.downsample_img,
            )
            pixels = session.pixels(image, self.downsample_img)
            mask = None
            if self.include_expression and image.has_expression_mask:
                mask = session.pixels(image, self.downsample_img, expression=True)
        except AtldldError as error:
            return error
        return image.id, coordinate, pixels, mask, field


def download_dataset(
    dataset_id: int,
    downsample_ref: int = 25,
    detection_xy: tuple[float, float] = (0, 0),
    include_expression: bool = False,
    downsample_img: int = 0,
) -> Iterator[tuple[Any, ...]]:
    """Yield the sections of a data set; the parameters are those of `DatasetDownloader`.

    Yields
    ------
    tuple
        ``(image_id, section_coordinate, img, df)``, and with ``include_expression`` the
        expression image as a fifth element.
    """
    downloader = DatasetDownloader(
        dataset_id, downsample_ref, detection_xy, include_expression, downsample_img
    )
    for image_id, coordinate, img, img_expression, df in downloader.run():
        if include_expression:
            yield image_id, coordinate, img, df, img_expression
        else:
            yield image_id, coordinate, img, df


download_parallel_dataset = download_dataset


def _reference_to_image(affine_2d: ArrayLike, affine_3d: ArrayLike) -> Matrix:
    """``[x, y, s] = M @ [p, i, r, 1]`` from ``tvs`` and ``trv``."""
    tvs, trv = _matrix(affine_2d, 2), _matrix(affine_3d, 3)
    combined = np.empty((3, 4))
    combined[:2] = tvs[:, :2] @ trv[:2]
    combined[:2, 3] += tvs[:, 2]
    combined[2] = trv[2]
    return combined


def _matrix(affine: ArrayLike, size: Literal[2, 3]) -> Matrix:
    array = np.asarray(affine, dtype=np.float64)
    if array.shape not in {(size, size + 1), (size + 1, size + 1)}:
        raise InvalidInputError(
            f"The {size}-D affine has shape {array.shape}, but must have {(size, size + 1)}, or "
            f"{(size + 1, size + 1)} with the homogeneous row."
        )
    return array[:size]


def _columns(points: ArrayLike, what: str) -> Matrix:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != 3:
        raise InvalidInputError(
            f"Coordinates have shape {array.shape}, but must have shape (3, N): {what}."
        )
    return array
