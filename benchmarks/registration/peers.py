"""What other programs make of the same sections from the same start: SimpleITK and elastix.

Each gets what a user would give it: the section's darkness, and the template cut along the plane
where the section is placed at the start. It moves the one in its plane until it fits the other, so
planes stay what they were. Neither is told anything of this package.

SimpleITK
    A cubic B-spline with meshes of about 2.5 mm, Mattes' mutual information (50 bins), L-BFGS-B
    with at most 100 rounds, at a quarter and half of the resolution first.
elastix
    Its default parameters for a rigid, an affine and a B-spline registration, one after the other
    (``itk-elastix``). Where it is not installed it is left out, and why is said; it needs an
    environment of its own: ``pip install itk-elastix``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.atlas import Atlas
from atldld.fetch.session import Session
from atldld.place.placement import Placement
from atldld.place.sections import PlacedDataSet, PlacedSection
from atldld.place.tiers import tier_of
from atldld.warp.background import background_of
from atldld.warp.stain import darkness

__all__ = ["PEERS", "Moved", "Peer", "registered_by"]

RESOLUTION = 50.0  # µm, of the pictures that are registered
MESH = 2500.0  # µm, of SimpleITK's spline

Matrix = NDArray[np.float64]
Picture = NDArray[np.float32]
Registers = Callable[[Picture, Picture], Matrix]
"""Section and template, shape (rows, columns) → how far pixels move, (rows, columns, 2), (x, y)."""


@dataclass(frozen=True, eq=False)
class Moved:
    """A placement whose pixels are moved in the plane first.

    Attributes
    ----------
    start : Placement
        Where the section is placed at the start.
    moves : numpy.ndarray, shape (rows, columns, 2)
        (x, y) in pixels of the registered picture.
    scale : numpy.ndarray, shape (2,)
        Full-resolution pixels along the sides of such a pixel.
    """

    start: Placement
    moves: Matrix
    scale: Matrix

    def to_reference(self, xy: Matrix) -> Matrix:
        """Map image pixels to the reference space, (..., 2) → (..., 3)."""
        from scipy.ndimage import map_coordinates

        places = ((np.asarray(xy) + 0.5) / self.scale - 0.5).reshape(-1, 2).T[::-1]
        by = np.stack(
            [map_coordinates(self.moves[..., k], places, order=1, mode="nearest") for k in (0, 1)],
            axis=-1,
        )
        return self.start.to_reference(np.asarray(xy) + by.reshape(np.shape(xy)) * self.scale)


@dataclass(frozen=True)
class Peer:
    """Another program.

    Attributes
    ----------
    package : str
        What has to be importable.
    registers : callable
        What it does.
    """

    package: str
    registers: Registers

    def missing(self) -> str | None:
        """Return why it cannot be asked, if so."""
        return None if find_spec(self.package) else f"the package {self.package} is not installed."


def with_simpleitk(section: Picture, template: Picture) -> Matrix:
    """Register by SimpleITK's B-spline."""
    sitk: Any = import_module("SimpleITK")
    fixed, moving = sitk.GetImageFromArray(section), sitk.GetImageFromArray(template)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(50)
    method.SetOptimizerAsLBFGSB(gradientConvergenceTolerance=1e-5, numberOfIterations=100)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    meshes = [max(round(side * RESOLUTION / MESH), 1) for side in fixed.GetSize()]
    method.SetInitialTransform(sitk.BSplineTransformInitializer(fixed, meshes), True)
    found = method.Execute(fixed, moving)
    field = sitk.TransformToDisplacementField(
        found, sitk.sitkVectorFloat64, fixed.GetSize(), fixed.GetOrigin(), fixed.GetSpacing()
    )
    return np.asarray(sitk.GetArrayFromImage(field), dtype=np.float64)


def with_elastix(section: Picture, template: Picture) -> Matrix:
    """Register by elastix with its defaults."""
    itk: Any = import_module("itk")
    fixed, moving = itk.image_from_array(section), itk.image_from_array(template)
    parameters = itk.ParameterObject.New()
    for name in ("rigid", "affine", "bspline"):
        parameters.AddParameterMap(parameters.GetDefaultParameterMap(name))
    _, found = itk.elastix_registration_method(
        fixed, moving, parameter_object=parameters, log_to_console=False
    )
    with TemporaryDirectory() as folder:  # it writes the field where it is told to, or here
        field = itk.transformix_deformation_field(moving, found, output_directory=folder)
        return np.array(itk.array_from_image(field), dtype=np.float64)[..., :2]


PEERS = {
    "SimpleITK": Peer("SimpleITK", with_simpleitk),
    "elastix": Peer("itk", with_elastix),
}
"""By name."""


def registered_by(
    name: str, dataset: PlacedDataSet, atlas: Atlas, session: Session
) -> dict[int, Placement | Moved]:
    """Return where a peer lays the sections of a data set; those that it fails on stay."""
    registers = PEERS[name].registers
    out: dict[int, Placement | Moved] = {}
    for section in dataset.sections:
        out[section.id] = section.placement
        stain, scale = _stain(section, session)
        template = _template(section.placement, stain.shape, scale, atlas)
        if np.ptp(stain) < 1 or np.ptp(template) < 1:
            continue
        try:
            out[section.id] = Moved(section.placement, registers(stain, template), scale)
        except RuntimeError:
            continue  # both say so where they find nothing to go by
    return out


def _stain(section: PlacedSection, session: Session) -> tuple[Picture, Matrix]:
    """Return a section's stain at `RESOLUTION`, and how many full pixels a side of its has."""
    tier = tier_of(section, RESOLUTION)
    pixels = session.pixels(section.image, tier)
    background = background_of(pixels)
    bright = np.mean(background) >= 128
    stain = darkness(pixels, background) if bright else pixels.max(axis=2)
    across = np.linalg.norm(section.placement.forward[:, :2], axis=0) * (1 << tier)
    height, width = stain.shape
    columns = max(round(width * across[0] / RESOLUTION), 8)
    rows = max(round(height * across[1] / RESOLUTION), 8)
    small = cv2.resize(stain, (columns, rows), interpolation=cv2.INTER_AREA)
    scale = np.array([width / columns, height / rows]) * (1 << tier)
    return small.astype(np.float32), scale


def _template(start: Placement, shape: tuple[int, ...], scale: Matrix, atlas: Atlas) -> Picture:
    """Return the template where a section is placed at the start."""
    from scipy.ndimage import map_coordinates

    grey: Any = atlas.template
    side = atlas.annotation.shape[0] * atlas.resolution / grey.shape[0]
    row, column = np.indices(shape)
    xy = (np.stack((column, row), axis=-1) + 0.5) * scale - 0.5
    points = start.to_reference(xy).reshape(-1, 3).T
    values = map_coordinates(grey.astype(np.float32), points / side - 0.5, order=1)
    return np.asarray(values.reshape(shape), dtype=np.float32)
