"""OME-Zarr stores of `atldld.formats` as layers; those of others are left to other readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from atldld.errors import AtldldError, InvalidInputError, OutputError
from atldld.formats import beside
from atldld.formats.common import need
from atldld.place.spaces import AXES
from atldld.support.documents import DocumentError, parse_as

__all__ = ["is_ours", "layers"]


class _Transformation(msgspec.Struct):
    type: str
    scale: list[float] = []
    translation: list[float] = []


class _Level(msgspec.Struct):
    path: str
    coordinateTransformations: list[_Transformation]  # noqa: N815 - a name of the specification


class _Axis(msgspec.Struct):
    name: str


class _Multiscale(msgspec.Struct):
    name: str
    # no default: stores of displacement fields, which are no pictures, have none
    axes: list[_Axis]
    datasets: list[_Level]


class _Window(msgspec.Struct):
    min: float
    max: float


class _Channel(msgspec.Struct):
    window: _Window


class _Omero(msgspec.Struct):
    channels: list[_Channel]


class _Ome(msgspec.Struct):
    multiscales: list[_Multiscale]
    omero: _Omero


class _Attributes(msgspec.Struct):
    ome: _Ome
    atldld: dict[str, Any]


class _Group(msgspec.Struct):
    attributes: _Attributes


def is_ours(path: Path) -> bool:
    """Whether a path is a volume that this package has written."""
    return _described(path) is not None


def layers(path: Path) -> list[tuple[Any, dict[str, Any], str]]:
    """Return a volume as a layer, and its coverage as a second one, hidden, if it lies beside.

    Parameters
    ----------
    path : pathlib.Path
        The store.

    Returns
    -------
    list of tuple
        Layer data tuples; the levels of a volume are lazy where dask is installed.

    Raises
    ------
    OutputError
        If the store lacks an array, or one cannot be read.
    AtldldError
        If zarr is not installed.
    """
    found = [_layer(path)]
    try:
        coverage = beside(path)
    except InvalidInputError:  # the folder has a name of its own
        return found
    if is_ours(coverage):
        found.append(_layer(coverage))
    return found


def _described(path: Path) -> _Attributes | None:
    try:
        return parse_as((path / "zarr.json").read_bytes(), _Group).attributes
    except (OSError, DocumentError):
        return None


def _layer(path: Path) -> tuple[Any, dict[str, Any], str]:
    described = _described(path)
    if described is None or not described.ome.multiscales[:1]:
        raise OutputError(f"{path} is no volume of atldld's.", hint="Write it again.")
    zarr = need("zarr", "zarr", "OME-Zarr stores")
    (image,) = described.ome.multiscales[:1]
    provenance = described.atldld
    colours = image.axes[0].name == "c"
    try:
        levels = [
            _lazy(zarr.open_array(str(path / level.path), mode="r"), colours)
            for level in image.datasets
        ]
        steps = {
            transformation.type: transformation
            for transformation in image.datasets[0].coordinateTransformations
        }
        scale, translate = steps["scale"].scale[-3:], steps["translation"].translation[-3:]
        window = described.ome.omero.channels[0].window
    except AtldldError:
        raise
    # whatever zarr and the file system say of a store that is not whole
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise OutputError(
            f"{path} is not whole: {error}.", hint="Write it again with `atldld volume … --force`."
        ) from error
    options: dict[str, Any] = {
        "name": image.name,
        "scale": scale,
        "translate": translate,
        "axis_labels": AXES,
        "units": ("um",) * 3,
        "multiscale": len(levels) > 1,
        "rgb": colours,
        "metadata": {"atldld": provenance},
    }
    if not colours:
        options["contrast_limits"] = (window.min, window.max)
        options["colormap"] = "gray"
    # weights say how far values may be trusted; they would only hide the values
    options["visible"] = provenance.get("shows") != "coverage"
    return (levels if len(levels) > 1 else levels[0], options, "image")


def _lazy(array: Any, colours: bool) -> Any:
    """Return an array with the colours last, as napari wants them."""
    try:
        import dask.array
    except ImportError:
        import numpy as np

        return np.moveaxis(array[...], 0, -1) if colours else array[...]
    lazy: Any = dask.array
    made = lazy.from_array(array, chunks=array.chunks)
    return lazy.moveaxis(made, 0, -1) if colours else made
