"""Outlines as files: SVG for browsers and drawing programs, GeoJSON for QuPath, lines on pictures.

A picture's own coordinates have their origin in the corner of the first pixel, so that pixel u
spans [u, u + 1); image coordinates have it in its centre. A picture at tier d shows image point x
at (x + ½) / 2^d.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.atlas.outlines import Frame, Outline
from atldld.errors import InvalidInputError
from atldld.formats.common import need
from atldld.support.files import whole_file
from atldld.support.text import shown

__all__ = ["Canvas", "canvas_of", "draw_outlines", "write_geojson", "write_svg"]

Points = NDArray[np.float64]

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"


class Canvas:
    """How points of a frame lie on a picture.

    Parameters
    ----------
    frame : {"image", "reference"}
        What the points are.
    scale : float
        Pixels or µm of the frame for one pixel of the picture.
    """

    def __init__(self, frame: Frame, scale: float) -> None:
        self.frame = frame
        self.scale = scale

    def corners(self, points: Points) -> Points:
        """Return points counted from the corner of the first pixel."""
        shift = 0.5 if self.frame == "image" else 0.0
        placed: Points = (points + shift) / self.scale
        return placed

    def centres(self, points: Points) -> Points:
        """Return points counted from the centre of the first pixel."""
        placed: Points = self.corners(points) - 0.5
        return placed


def canvas_of(
    outlines: Sequence[Outline], *, downsample: int = 0, resolution: float | None = None
) -> Canvas:
    """Return how outlines lie on a picture.

    Parameters
    ----------
    outlines : sequence of Outline
        All of one frame.
    downsample : int
        For the frame ``"image"``: the picture's tier.
    resolution : float, optional
        For the frame ``"reference"``: side of the picture's pixels, in µm.

    Raises
    ------
    InvalidInputError
        If the outlines are of several frames, or the resolution is missing.
    """
    frames = {outline.frame for outline in outlines} or {"image"}
    if len(frames) > 1:
        raise InvalidInputError("The outlines are of several frames; one picture has one.")
    frame = frames.pop()
    if frame == "reference" and not (resolution and resolution > 0):
        raise InvalidInputError(
            "These outlines are in µm of the reference space; say the side of the picture's "
            "pixels in µm."
        )
    return Canvas(frame, 1 << downsample if frame == "image" else resolution or 1.0)


def write_svg(
    path: str | Path,
    outlines: Sequence[Outline],
    size: tuple[int, int],
    *,
    downsample: int = 0,
    resolution: float | None = None,
    picture: NDArray[np.uint8] | None = None,
    fill_opacity: float | None = None,
    line_width: float = 1.0,
    title: str = "",
    description: str = "",
    force: bool = False,
) -> None:
    """Write outlines as an SVG that browsers and drawing programs open.

    Each structure is one path with ``id``, ``structure_id`` (as in the institute's own SVG),
    ``data-acronym``, ``data-hemisphere``, and its name as a tooltip.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    outlines : sequence of Outline
        All of one frame.
    size : tuple of 2 int
        Width and height of the picture in pixels, which are the SVG's unit.
    downsample, resolution : optional
        See `canvas_of`.
    picture : numpy.ndarray, shape (height, width, 3), uint8, optional
        RGB; put behind the outlines, inside the file.
    fill_opacity : float, optional
        0 (nothing) to 1; by default half where there is no picture, else nothing.
    line_width : float
        In pixels of the screen, however far one zooms in.
    title, description : str
        Shown by browsers; where it comes from.
    force : bool
        Replace a file that is there.

    Raises
    ------
    InvalidInputError
        If the picture has another size than `size`.
    OutputError
        If the file cannot be written, or exists and `force` is false.
    """
    path, (width, height) = Path(path), size
    canvas = canvas_of(outlines, downsample=downsample, resolution=resolution)
    if picture is not None and picture.shape[:2] != (height, width):
        raise InvalidInputError(
            f"The picture has {picture.shape[1]} × {picture.shape[0]} pixels, but the drawing "
            f"{width} × {height}."
        )
    opacity = (0.5 if picture is None else 0.0) if fill_opacity is None else fill_opacity
    root = ElementTree.Element(
        "svg",
        {
            "xmlns": _SVG,
            "xmlns:xlink": _XLINK,
            "version": "1.1",
            "width": str(width),
            "height": str(height),
            "viewBox": f"0 0 {width} {height}",
        },
    )
    if title:
        ElementTree.SubElement(root, "title").text = shown(title)
    if description:
        ElementTree.SubElement(root, "desc").text = shown(description)
    if picture is not None:
        data = _data_uri(picture)
        attributes = {"width": str(width), "height": str(height)}
        # the first is for browsers, the second for older drawing programs
        ElementTree.SubElement(root, "image", {**attributes, "href": data, "xlink:href": data})
    group = ElementTree.SubElement(
        root, "g", {"stroke-width": f"{line_width:g}", "stroke-linejoin": "round"}
    )
    taken: dict[str, int] = {}
    for outline in outlines:
        name = f"structure-{outline.id}-{outline.hemisphere}"
        taken[name] = taken.get(name, 0) + 1
        drawn = ElementTree.SubElement(
            group,
            "path",
            {
                "id": name if taken[name] == 1 else f"{name}-{taken[name]}",
                "structure_id": str(outline.id),
                "data-acronym": shown(outline.acronym),
                "data-hemisphere": outline.hemisphere,
                "fill": f"#{outline.color}",
                "fill-opacity": f"{opacity:g}",
                "fill-rule": "evenodd",
                "stroke": f"#{outline.color}" if picture is not None else "#404040",
                "vector-effect": "non-scaling-stroke",
                "d": "".join(
                    _path_data(canvas.corners(ring))
                    for polygon in outline.polygons
                    for ring in polygon
                ),
            },
        )
        ElementTree.SubElement(drawn, "title").text = shown(f"{outline.acronym}: {outline.name}")
    with whole_file(path, force=force) as temporary:
        ElementTree.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)


def write_geojson(
    path: str | Path,
    outlines: Sequence[Outline],
    *,
    downsample: int = 0,
    resolution: float | None = None,
    coordinates: str | None = None,
    force: bool = False,
) -> None:
    """Write outlines as GeoJSON that QuPath imports as annotations.

    QuPath counts full-resolution pixels of the image that is open in it, from the corner of the
    first one: open the section image at ``downsample``, or a picture on the reference grid at
    ``resolution``. Each structure is one Feature with the classification that QuPath shows, and
    with its id, acronym, name and hemisphere under ``properties``.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    outlines : sequence of Outline
        All of one frame.
    downsample, resolution : optional
        See `canvas_of`.
    coordinates : str, optional
        Whose coordinates the section lies in; see `PlacedSection.coordinates`.
    force : bool
        Replace a file that is there.

    Raises
    ------
    OutputError
        If the file cannot be written, or exists and `force` is false.
    """
    canvas = canvas_of(outlines, downsample=downsample, resolution=resolution)
    told = {} if coordinates is None else {"coordinates": coordinates}
    document = {
        "type": "FeatureCollection",
        # a "foreign member" (RFC 7946, 6.1): full-resolution pixels of the section image, or µm of
        # the reference grid, for one pixel of the picture that the coordinates count
        "atldld": {"frame": canvas.frame, "pixel": canvas.scale, **told},
        "features": [_feature(outline, canvas) for outline in outlines],
    }
    with whole_file(path, force=force) as temporary:
        temporary.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")


def draw_outlines(
    picture: NDArray[np.uint8],
    outlines: Sequence[Outline],
    *,
    downsample: int = 0,
    resolution: float | None = None,
    color: tuple[int, int, int] | None = None,
    thickness: int = 1,
) -> NDArray[np.uint8]:
    """Return a picture with outlines drawn on it, as smooth lines.

    Parameters
    ----------
    picture : numpy.ndarray, shape (height, width, 3), uint8
        RGB; left as it is.
    outlines : sequence of Outline
        All of one frame.
    downsample, resolution : optional
        See `canvas_of`.
    color : tuple of 3 int, optional
        Of all lines; each structure's own by default.
    thickness : int
        Of the lines, in pixels.

    Returns
    -------
    numpy.ndarray, shape (height, width, 3), uint8
        RGB.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise InvalidInputError(
            f"The picture has shape {picture.shape} and type {picture.dtype}, but must be RGB: "
            "(height, width, 3), uint8."
        )
    canvas = canvas_of(outlines, downsample=downsample, resolution=resolution)
    out = picture.copy()
    fraction = 4  # OpenCV counts in 1/2^4 of a pixel
    for outline in outlines:
        rings = [
            np.rint(canvas.centres(ring) * (1 << fraction)).astype(np.int32)
            for polygon in outline.polygons
            for ring in polygon
        ]
        cv2.polylines(
            out, rings, True, color or outline.rgb, thickness, cv2.LINE_AA, shift=fraction
        )
    return out


def _feature(outline: Outline, canvas: Canvas) -> dict[str, Any]:
    shapely = need("shapely", "atlas", "GeoJSON files")
    # four digits: far finer than what lines leave between them
    placed = [
        [np.round(canvas.corners(ring), 4) for ring in polygon] for polygon in outline.polygons
    ]
    polygons = [shapely.Polygon(exterior, holes) for exterior, *holes in placed]
    shape = polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
    key = f"{outline.id}/{outline.hemisphere}"
    return {
        "type": "Feature",
        # QuPath wants one for each object; the same structure has the same one in every file
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"atldld structure {key}")),
        # exterior rings run counterclockwise, as GeoJSON (RFC 7946) wants them
        "geometry": shapely.geometry.mapping(shapely.orient_polygons(shape)),
        "properties": {
            "objectType": "annotation",
            "name": outline.acronym,
            "classification": {"name": outline.acronym, "color": list(outline.rgb)},
            "isLocked": True,
            "structure_id": outline.id,
            "acronym": outline.acronym,
            "structure_name": outline.name,
            "hemisphere": outline.hemisphere,
        },
    }


def _path_data(points: Points) -> str:
    written = " ".join(f"{x:.2f},{y:.2f}" for x, y in points[:-1])
    return f"M{written}Z"


def _data_uri(picture: NDArray[np.uint8]) -> str:
    import simplejpeg

    jpeg = simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture), quality=85, colorspace="RGB", colorsubsampling="420"
    )
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
