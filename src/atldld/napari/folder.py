"""The folder of `atldld download dataset` as layers: sections, masks, outlines.

The sections of a data set are parallel planes, evenly spaced by their section numbers. So they are
one stack: plane k holds the section with the k-th number, and those that were not made or did not
survive leave their planes blank. The stack's planes are perpendicular to the axis, at the third
coordinate that each section has at the picture's centre; the tilt of the planes, some tenths of a
degree to a few degrees, is left to ``metadata["tilt"]`` of each layer. napari pages through a
tilted stack with a warning and a shift, and cannot page through it otherwise.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from atldld.errors import OutputError
from atldld.place.spaces import AXES
from atldld.sections.metadata import (
    METADATA,
    FolderMetadata,
    OutputEntry,
    SectionEntry,
    read_metadata,
)
from atldld.support.documents import DocumentError, parse_as
from atldld.warp.stain import Scale, open_scale, read_mask

__all__ = ["Stack", "is_ours", "layers"]

Matrix = NDArray[np.float64]
Layer = tuple[Any, dict[str, Any], str]

_AGAIN = "Run `atldld download dataset` for this folder again."

# How much of the first bytes tells whose folder it is: the id stands at the file's beginning.
_HEAD = 4096

# Width of the outlines.
_LINE_UM = 40


class _Geometry(msgspec.Struct):
    type: Literal["Polygon", "MultiPolygon"]
    coordinates: list[Any]


class _Classification(msgspec.Struct):
    color: tuple[int, int, int]


class _Properties(msgspec.Struct):
    structure_id: int
    acronym: str
    structure_name: str
    hemisphere: str
    classification: _Classification


class _Feature(msgspec.Struct):
    geometry: _Geometry
    properties: _Properties


class _Canvas(msgspec.Struct):
    frame: Literal["image", "reference"]
    pixel: Annotated[float, msgspec.Meta(gt=0)]


class _Outlines(msgspec.Struct):
    features: list[_Feature]
    atldld: _Canvas | None = None


@dataclass(frozen=True, eq=False)
class Stack:
    """How the pictures of a folder lie in the reference space.

    Attributes
    ----------
    axes : tuple of 3 int
        The reference axes (0 = p, 1 = i, 2 = r) across the pictures, along their rows' index and
        along their columns' index.
    shape : tuple of 3 int
        Planes, rows, columns.
    resolution : float
        Side of a pixel, in µm.
    first, step : float
        Third coordinate of plane 0, and from one plane to the next, in µm; the step is positive.
    planes : dict
        By image id: its plane's index.
    tilt : numpy.ndarray, shape (4, 4), float64
        (p, i, r, 1) in µm of the stack → of the sections' own planes.
    """

    axes: tuple[int, int, int]
    shape: tuple[int, int, int]
    resolution: float
    first: float
    step: float
    planes: dict[str, int]
    tilt: Matrix

    @property
    def scale(self) -> tuple[float, float, float]:
        """Side of a voxel along (p, i, r), in µm."""
        return self._by_axis((self.step, self.resolution, self.resolution))

    @property
    def translate(self) -> tuple[float, float, float]:
        """(p, i, r) of the centre of the first voxel, in µm."""
        return self._by_axis((self.first, self.resolution / 2, self.resolution / 2))

    @property
    def order(self) -> tuple[int, ...]:
        """Which of (planes, rows, columns) runs along p, along i and along r."""
        return tuple(int(place) for place in np.argsort(self.axes))

    def _by_axis(self, values: tuple[float, float, float]) -> tuple[float, float, float]:
        p, i, r = (values[place] for place in self.order)
        return p, i, r


def is_ours(path: Path) -> bool:
    """Whether a folder is one of `atldld download dataset`."""
    try:
        with (path / METADATA).open("rb") as file:
            return b'"dataset_id"' in file.read(_HEAD)
    except OSError:
        return False


def layers(path: Path, scale: Scale | str | Path = "jet") -> list[Layer]:
    """Return the sections of a folder as a layer, and their masks and outlines as further ones.

    Parameters
    ----------
    path : pathlib.Path
        The folder; outlines in it are those that `atldld.sections.drawings.write_drawing` names.
    scale : Scale, str or pathlib.Path
        The colours of the masks; see `atldld.warp.stain.open_scale`.

    Returns
    -------
    list of tuple
        Layer data tuples: an image in RGB; an image of the masks' levels
        (`atldld.warp.stain.read_mask`), if there are masks; shapes, if there are outlines. Pictures
        are lazy where dask is installed.

    Raises
    ------
    OutputError
        If the folder's ``metadata.json`` lacks something, or if a file that it lists is missing or
        cannot be read.
    """
    metadata = read_metadata(path)
    stack = _stack(metadata, path)
    found = [_sections(path, metadata, stack)]
    masks = _masks(path, metadata, stack, open_scale(scale))
    outlines = _outlines(path, metadata, stack)
    return found + [layer for layer in (masks, outlines) if layer is not None]


def _stack(metadata: FolderMetadata, path: Path) -> Stack:
    """Find the even planes on which the sections lie."""
    output = metadata.output
    rows, columns = AXES.index(output.axis_of_rows), AXES.index(output.axis_of_columns)
    across = 3 - rows - columns
    centre = np.array([output.rows, output.columns]) * output.resolution_um / 2
    numbers = np.array([section.section_number for section in metadata.per_image.values()])
    slopes, depths = _planes(metadata, path, centre)
    between = int(np.gcd.reduce(np.diff(np.unique(numbers)))) or 1
    if len(np.unique(numbers)) > 1:
        slope = float(np.polyfit(numbers - numbers.mean(), depths, 1)[0])
    else:
        slope = metadata.section_thickness
    # Planes that all lie at one place have no order of their own: they are spread by thickness.
    per_number = slope if abs(slope) > 1e-3 else metadata.section_thickness
    index = (numbers - numbers.min()) // between
    if per_number < 0:
        index = index.max() - index
    step = abs(per_number) * between
    tilt = np.eye(4)
    tilt[across, [rows, columns]] = slopes.mean(axis=0)
    tilt[across, 3] = -slopes.mean(axis=0) @ centre
    return Stack(
        axes=(across, rows, columns),
        shape=(int(index.max()) + 1, output.rows, output.columns),
        resolution=output.resolution_um,
        first=float(np.mean(depths - step * index)),
        step=step,
        planes=dict(zip(metadata.per_image, index.tolist(), strict=True)),
        tilt=tilt,
    )


def _planes(metadata: FolderMetadata, path: Path, centre: Matrix) -> tuple[Matrix, Matrix]:
    """Return each section's slopes along rows and columns, and its depth at the centre in µm."""
    output = metadata.output
    slopes, depths = [], []
    for image_id, picture in metadata.per_image.items():
        line = picture.third_coordinate
        try:
            a, b, constant = (
                float(line[name])
                for name in (output.axis_of_rows, output.axis_of_columns, "constant")
            )
        except (KeyError, ValueError):
            raise OutputError(
                f"{path / METADATA} does not say where the section of image {image_id} lies.",
                hint="Make the folder again with `atldld download dataset`.",
            ) from None
        slopes.append((a, b))
        depths.append(float(np.array([a, b]) @ centre) + constant)
    return np.array(slopes), np.array(depths)


def _described(path: Path, metadata: FolderMetadata, stack: Stack) -> dict[str, Any]:
    """Return the ``metadata`` of the layers."""
    output = metadata.output
    sides = np.array([output.rows, output.columns]) * output.resolution_um
    slopes, depths = _planes(metadata, path, sides / 2)
    mean = slopes.mean(axis=0)
    sections = []
    off = off_with_tilt = 0.0
    by_id = zip(metadata.per_image.items(), slopes, depths, strict=True)
    for (image_id, picture), slope, depth in by_id:
        plane = stack.planes[image_id]
        from_plane = float(depth - (stack.first + stack.step * plane))
        for corner in product((-0.5, 0.5), repeat=2):
            there = np.array(corner) * sides
            off = max(off, abs(from_plane + float(slope @ there)))
            off_with_tilt = max(off_with_tilt, abs(from_plane + float((slope - mean) @ there)))
        sections.append(
            {
                "image_id": image_id,
                "section_number": picture.section_number,
                "plane": plane,
                "third_coordinate": picture.third_coordinate,
                "deformation": msgspec.to_builtins(picture.deformation),
            }
        )
    return {
        "atldld": {
            "dataset_id": metadata.dataset_id,
            "synthetic": metadata.synthetic,
            "coordinates": metadata.output.coordinates,
            "citation": metadata.citation,
            "plane_kind": output.plane_kind,
            "sections": sorted(sections, key=lambda section: section["plane"]),
            # the farthest that any pixel is from where its section has it, in µm
            "off_um": off,
            "off_with_tilt_um": off_with_tilt,
        },
        "tilt": stack.tilt,
    }


def _options(path: Path, metadata: FolderMetadata, stack: Stack, what: str) -> dict[str, Any]:
    synthetic = "SYNTHETIC " if metadata.synthetic else ""
    return {
        "name": f"{synthetic}{what} {metadata.dataset_id}",
        "scale": stack.scale,
        "translate": stack.translate,
        "axis_labels": AXES,
        "units": ("um",) * 3,
        "metadata": _described(path, metadata, stack),
    }


def _sections(path: Path, metadata: FolderMetadata, stack: Stack) -> Layer:
    files = _files(path, metadata, "image")
    if len(files) < len(metadata.per_image):
        raise OutputError(f"{path / METADATA} lists sections without a picture.", hint=_AGAIN)
    glass = np.mean([section.background for section in metadata.per_image.values()], axis=0)
    blank = np.empty((*stack.shape[1:], 3), dtype=np.uint8)
    blank[:] = np.rint(glass)
    data = _stacked(files, stack, blank, lambda file: _picture(file, blank.shape))
    return data, {**_options(path, metadata, stack, "sections"), "rgb": True}, "image"


def _masks(path: Path, metadata: FolderMetadata, stack: Stack, scale: Scale) -> Layer | None:
    files = _files(path, metadata, "expression")
    if not files:
        return None
    blank = np.zeros(stack.shape[1:], dtype=np.uint8)
    data = _stacked(
        files,
        stack,
        blank,
        lambda file: read_mask(_picture(file, (*blank.shape, 3)), scale=scale).level,
    )
    options = _options(path, metadata, stack, "expression")
    options["metadata"]["atldld"]["scale"] = scale.describe()
    options |= {"rgb": False, "contrast_limits": (0, 255), "colormap": _colormap(scale)}
    return data, options | {"blending": "translucent", "opacity": 0.7}, "image"


def _colormap(scale: Scale) -> NDArray[np.float64]:
    """Return the colours of the masks for their levels, and nothing for 0."""
    colours = np.zeros((256, 4))
    colours[1:, :3] = scale.colours[1:] / 255
    colours[1:, 3] = 1
    return colours


def _files(path: Path, metadata: FolderMetadata, kind: str) -> dict[str, Path]:
    """Return the files of a kind by image id; all of them are there."""
    files = {}
    for image_id, picture in metadata.per_image.items():
        if kind not in picture.files:
            continue
        name = picture.files[kind].name
        # anyone may have edited the names
        if name != Path(name).name or not (path / name).is_file():
            raise OutputError(
                f"{path} lacks {name}, which its {METADATA} lists.",
                hint=_AGAIN,
            )
        files[image_id] = path / name
    return files


def _picture(file: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a picture that `atldld.sections.download.write_picture` has written, as RGB."""
    pixels: Any
    if file.suffix == ".png":
        pixels = cv2.imread(str(file), cv2.IMREAD_COLOR_RGB)
    else:
        import tifffile

        try:
            pixels = tifffile.imread(file)
        except (OSError, ValueError, tifffile.TiffFileError):
            pixels = None
    if pixels is None:
        raise OutputError(f"{file} cannot be read as a picture.", hint=_AGAIN)
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise OutputError(
            f"{file} has shape {pixels.shape} and type {pixels.dtype}, but its {METADATA} says "
            f"{shape} and 8 bits.",
            hint=_AGAIN,
        )
    return np.asarray(pixels)


def _stacked(
    files: Mapping[str, Path],
    stack: Stack,
    blank: NDArray[np.uint8],
    load: Callable[[Path], NDArray[np.uint8]],
) -> Any:
    """Return pictures as one array whose axes run along (p, i, r), colours last."""
    by_plane = {stack.planes[image_id]: file for image_id, file in files.items()}
    order = (*stack.order, *range(3, blank.ndim + 1))
    try:
        import dask.array
        from dask.delayed import delayed
    except ImportError:
        planes = [load(by_plane[k]) if k in by_plane else blank for k in range(stack.shape[0])]
        return np.stack(planes).transpose(order)
    lazy: Any = dask.array
    empty = lazy.from_array(blank, chunks=-1)
    promised = [
        lazy.from_delayed(delayed(load)(by_plane[k]), blank.shape, blank.dtype)
        if k in by_plane
        else empty
        for k in range(stack.shape[0])
    ]
    return lazy.stack(promised).transpose(order)


def _outlines(path: Path, metadata: FolderMetadata, stack: Stack) -> Layer | None:
    """Return the outlines as closed lines in the voxels of the stack.

    Lines, as napari's polygons know no holes; and to fill those of a hundred sections takes it
    more than a minute, the lines alone some seconds.
    """
    lines: list[Matrix] = []
    colours: list[tuple[int, int, int]] = []
    features: dict[str, list[Any]] = {
        name: [] for name in ("acronym", "structure_id", "name", "hemisphere", "hole", "image_id")
    }
    for image_id, picture in metadata.per_image.items():
        file = path / f"{image_id}_outlines.geojson"
        if not file.is_file():
            continue
        for feature, rings in _rings(file, metadata.output, picture):
            properties = feature.properties
            for place, ring in enumerate(rings):
                vertices = np.empty((len(ring), 3))
                vertices[:, 0] = stack.planes[image_id]
                vertices[:, 1:] = ring[:, ::-1]  # (row, column)
                lines.append(vertices[:, stack.order])
                colours.append(properties.classification.color)
                features["acronym"].append(properties.acronym)
                features["structure_id"].append(properties.structure_id)
                features["name"].append(properties.structure_name)
                features["hemisphere"].append(properties.hemisphere)
                features["hole"].append(place > 0)
                features["image_id"].append(image_id)
    if not lines:
        return None
    options = _options(path, metadata, stack, "outlines") | {
        "shape_type": "path",
        "edge_color": np.array(colours) / 255,
        "edge_width": _LINE_UM / stack.resolution,
        "features": {name: np.array(values) for name, values in features.items()},
        "opacity": 1.0,
    }
    return lines, options, "shapes"


def _rings(
    file: Path, output: OutputEntry, picture: SectionEntry
) -> Iterator[tuple[_Feature, Sequence[Matrix]]]:
    """Yield each polygon's rings as (column, row) of the folder's pictures, and whose it is.

    GeoJSON counts pixels of its own picture from the corner of the first; napari counts centres.
    """
    try:
        document = parse_as(file.read_bytes(), _Outlines)
    except OSError as error:
        raise _unreadable(file, str(error.strerror)) from error
    except DocumentError as error:
        raise _unreadable(file, f"it {error}") from error
    if document.atldld is None:
        warnings.warn(
            f"{file.name} does not say on which picture its outlines lie, and is left out.",
            stacklevel=2,
        )
        return
    on_raw = document.features and document.atldld.frame == "image"
    if on_raw and picture.deformation is not None:
        warnings.warn(
            f"{file.name} has outlines on the picture as scanned, which is curved: they cannot be "
            "laid on the registered picture, and are left out. Outlines in the frame 'reference' "
            "can be.",
            stacklevel=2,
        )
        return
    to_output = _to_output(document.atldld, output, picture)
    for feature in document.features:
        shape = feature.geometry
        polygons = [shape.coordinates] if shape.type == "Polygon" else shape.coordinates
        for polygon in polygons:
            try:
                rings = [np.array(ring, dtype=np.float64) for ring in polygon]
                if not all(ring.ndim == 2 and np.isfinite(ring).all() for ring in rings):
                    raise ValueError
                placed = [ring @ to_output[:, :2].T + to_output[:, 2] for ring in rings]
            except (TypeError, ValueError):
                raise _unreadable(file, f"a polygon of {feature.properties.acronym}") from None
            yield feature, placed


def _unreadable(file: Path, what: str) -> OutputError:
    return OutputError(
        f"{file} cannot be read as outlines: {what}.",
        hint="Write it again with `atldld atlas outlines … --format geojson`.",
    )


def _to_output(where: _Canvas, output: OutputEntry, picture: SectionEntry) -> Matrix:
    """Return (column, row) of a folder's picture = M · (x, y, 1) of the outlines' picture."""
    pixel = where.pixel
    if where.frame == "image":
        to_full = np.array([[pixel, 0, -0.5], [0, pixel, -0.5], [0, 0, 1]])
        to_image = np.vstack((picture.image_from_output, [0, 0, 1]))
        from_full: Matrix = np.linalg.inv(to_image) @ to_full
        return from_full[:2]
    factor = pixel / output.resolution_um
    matrix = np.array([[factor, 0, -0.5], [0, factor, -0.5]])
    # Outlines are laid out dorsal up, which sagittal pictures as atldld 0.3 had them are not.
    turned = (output.axis_of_rows, output.axis_of_columns) == ("p", "i")
    return np.flip(matrix, axis=0) if turned else matrix
