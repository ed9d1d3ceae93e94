"""Outlines as files: SVG for browsers and drawing programs, GeoJSON for QuPath, lines on pictures.

A picture's own coordinates have their origin in the corner of the first pixel, so that pixel u
spans [u, u + 1); image coordinates have it in its centre. A picture at tier d shows image point x
at (x + ½) / 2^d.
"""

from __future__ import annotations

import base64
import json
import math
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.atlas.outlines import Frame, Outline
from atldld.atlas.structures import Structure
from atldld.errors import InvalidInputError
from atldld.formats.common import need
from atldld.support.files import whole_file
from atldld.support.text import shown

__all__ = [
    "Canvas",
    "canvas_of",
    "draw_outlines",
    "label_places",
    "light_under",
    "scale_length",
    "scale_text",
    "standing_out",
    "write_geojson",
    "write_svg",
]

Points = NDArray[np.float64]

_FRACTION = 4  # OpenCV counts in 1/2^4 of a pixel
_RIM = 0.6  # how opaque the rims of lines are

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_INKSCAPE = "http://www.inkscape.org/namespaces/inkscape"
ElementTree.register_namespace("inkscape", _INKSCAPE)


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

    Each structure is one path with its name as a tooltip, ``id``, ``structure_id`` (as in the
    institute's own SVG), ``data-acronym``, ``data-name``, ``data-parent``, ``data-path`` (ids from
    the root on) and ``data-hemisphere``. The hierarchy is nested groups: each structure that others
    lie in is a ``<g>`` with its id, names and depth, which drawing programs list by name.

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
        root,
        "g",
        {"id": "structures", "stroke-width": f"{line_width:g}", "stroke-linejoin": "round"},
    )
    groups: dict[tuple[int, ...], ElementTree.Element] = {(): group}
    # what lies in an outlined structure is drawn over it: that has a group of its own
    holds_others = {outline.path[:n] for outline in outlines for n in range(len(outline.path))}
    taken: dict[str, int] = {}
    for outline in outlines:
        above: tuple[int, ...] = ()
        structures: tuple[Structure | Outline, ...] = (*outline.ancestors, outline)
        for structure in structures:
            inner = (*above, structure.id)
            if structure is outline and inner not in holds_others:
                break
            if inner not in groups:
                groups[inner] = _group(groups[above], structure, len(above))
            above = inner
        name = f"structure-{outline.id}-{outline.hemisphere}"
        taken[name] = taken.get(name, 0) + 1
        drawn = ElementTree.SubElement(
            groups[above],
            "path",
            {
                "id": name if taken[name] == 1 else f"{name}-{taken[name]}",
                "class": f"structure {outline.hemisphere}",
                f"{{{_INKSCAPE}}}label": shown(outline.acronym),
                "structure_id": str(outline.id),
                "data-structure-id": str(outline.id),
                "data-acronym": shown(outline.acronym),
                "data-name": shown(outline.name),
                "data-parent": str(outline.parent.id) if outline.parent else "",
                "data-path": _id_path(outline),
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
    ``resolution``. Each structure is one Feature with the name, colour and classification that
    QuPath shows, and under ``properties`` its id, acronym, name, parent, path and hemisphere, most
    of which QuPath keeps as the object's metadata.

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
    thickness: int | None = None,
    labels: bool = False,
    pixel_um: float | None = None,
) -> NDArray[np.uint8]:
    """Return a picture with outlines drawn on it, as smooth lines that stand out from it.

    A line has its structure's colour, made darker or lighter until it stands out from what lies
    beneath (a contrast of 4.5 to 1, as WCAG asks of text), and a thin rim the other way.

    Parameters
    ----------
    picture : numpy.ndarray, shape (height, width, 3), uint8
        RGB; left as it is.
    outlines : sequence of Outline
        All of one frame.
    downsample, resolution : optional
        See `canvas_of`.
    color : tuple of 3 int, optional
        Of all lines, as it is; each structure's own by default.
    thickness : int, optional
        Of the lines, in pixels; by default 1 for each 900 pixels of the picture.
    labels : bool
        Write acronyms into the structures that have room for them.
    pixel_um : float, optional
        Side of a pixel of the picture in µm: a scale bar is drawn.

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
    if thickness is None:
        thickness = max(1, round(max(picture.shape) / 900))
    out = picture.copy()
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.uint8)
    drawn = []
    for outline in outlines:
        rings = [canvas.centres(ring) for polygon in outline.polygons for ring in polygon]
        if not rings:
            continue
        light = light_under(grey, np.concatenate(rings))
        chosen = color or standing_out(outline.rgb, light)
        fixed = [np.rint(ring * (1 << _FRACTION)).astype(np.int32) for ring in rings]
        drawn.append((fixed, chosen, light))
    # all rims first: one must not cover a neighbour's line
    rims = out.copy()
    for fixed, _, light in drawn if color is None else ():
        rim = (255, 255, 255) if light > 0.5 else (0, 0, 0)
        cv2.polylines(rims, fixed, True, rim, thickness + 2, cv2.LINE_AA, shift=_FRACTION)
    out = cv2.addWeighted(rims, _RIM, out, 1 - _RIM, 0).astype(np.uint8)
    for fixed, chosen, _ in drawn:
        cv2.polylines(out, fixed, True, chosen, thickness, cv2.LINE_AA, shift=_FRACTION)
    if labels:
        scale = _text_scale(out.shape)

        def size_of(text: str) -> tuple[float, float]:
            (wide, high), _ = cv2.getTextSize(text, _FONT, scale, 1)
            return wide + 4.0, high + 4.0

        for text, place in label_places(outlines, canvas, out.shape[:2], size_of):
            _write(out, text, (round(place[0]), round(place[1])), scale)
    if pixel_um is not None:
        _draw_scale(out, pixel_um)
    return out


def light_under(grey: NDArray[np.uint8], points: Points) -> float:
    """Return how light a grey picture is under a line, 0 to 1; white beyond its edges."""
    height, width = grey.shape
    column, row = np.rint(points).astype(np.intp).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    if not inside.any():
        return 1.0
    return float(np.median(grey[row[inside], column[inside]])) / 255


def standing_out(
    rgb: tuple[int, int, int], light: float, contrast: float = 4.5
) -> tuple[int, int, int]:
    """Return a colour made darker or lighter until it stands out from a grey.

    Parameters
    ----------
    rgb : tuple of 3 int
        The colour, 0 to 255.
    light : float
        The grey beneath, 0 (black) to 1.
    contrast : float
        The ratio of luminances to be reached, as WCAG 2 counts it.
    """
    beneath = _luminance((round(light * 255),) * 3)
    goal = 0.0 if beneath > 0.18 else 255.0  # 0.18: as far from black as from white
    start = np.array(rgb, dtype=float)
    for share in np.linspace(0, 1, 21):
        red, green, blue = (round(v) for v in (start + share * (goal - start)).tolist())
        one, other = sorted((_luminance((red, green, blue)), beneath))
        if (other + 0.05) / (one + 0.05) >= contrast:
            break
    return red, green, blue


def _luminance(rgb: Sequence[int]) -> float:
    """Return the relative luminance of an sRGB colour."""
    c = np.array(rgb) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def label_places(
    outlines: Sequence[Outline],
    canvas: Canvas,
    shape: tuple[int, int],
    size_of: Callable[[str], tuple[float, float]],
) -> list[tuple[str, tuple[float, float]]]:
    """Return where acronyms have room within their structures.

    Parameters
    ----------
    outlines : sequence of Outline
        The structures, on the canvas.
    canvas : Canvas
        How they lie on the picture.
    shape : tuple of 2 int
        Height and width of the picture; nothing is written beyond its edges.
    size_of : callable
        Width and height of a text, in pixels.

    Returns
    -------
    list of (str, (float, float))
        Each text and its middle (x, y) from the first pixel's centre. Of every structure the
        largest piece is labelled on each side of the brain, where its largest circle lies, if the
        text fits; no two texts overlap.
    """
    shapely = need("shapely", "atlas", "Labels of outlines")
    height, width = shape
    frame = shapely.box(-0.5, -0.5, width - 0.5, height - 0.5)
    candidates = []
    for outline in outlines:
        for exterior, *holes in outline.polygons:
            piece = shapely.Polygon(
                canvas.centres(exterior), [canvas.centres(hole) for hole in holes]
            )
            wide, high = size_of(outline.acronym)
            if piece.area > 0.8 * wide * high:
                candidates.append((piece.area, outline.acronym, piece, wide, high))
    candidates.sort(key=lambda candidate: (-candidate[0], candidate[1]))
    found: list[tuple[str, tuple[float, float]]] = []
    boxes: list[Any] = []
    for area, text, piece, wide, high in candidates:
        if any(text == other and area < 0.5 * size for other, _, size in boxes):
            continue
        inside = shapely.intersection(shapely.make_valid(piece), frame)
        if inside.is_empty:
            continue
        line = shapely.maximum_inscribed_circle(inside, tolerance=0.5)
        (x, y), *_ = shapely.get_coordinates(line)
        box = shapely.box(x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
        # a little of a wide text may reach over the edge, as in printed atlases
        if inside.intersection(box).area < 0.85 * box.area:
            continue
        if any(box.intersects(other) for _, other, _ in boxes):
            continue
        boxes.append((text, box, area))
        found.append((text, (float(x), float(y))))
    return found


def scale_length(width_um: float) -> float:
    """Return a round length in µm, of about a fifth of a picture's width."""
    exponent = 10.0 ** math.floor(math.log10(width_um / 5))
    return max(step * exponent for step in (1, 2, 5) if step * exponent <= width_um / 5)


def scale_text(length: float) -> str:
    """Return how long a scale bar is, for its reader."""
    return f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"


def _text_scale(shape: tuple[int, ...]) -> float:
    return float(np.clip(max(shape[:2]) / 1800, 0.35, 1.2))


_FONT = cv2.FONT_HERSHEY_SIMPLEX


def _write(picture: NDArray[np.uint8], text: str, middle: tuple[int, int], scale: float) -> None:
    """Write dark text with a light rim, centred; readable on anything."""
    weight = max(1, round(scale * 1.6))
    (wide, high), _ = cv2.getTextSize(text, _FONT, scale, weight)
    place = middle[0] - wide // 2, middle[1] + high // 2
    side = 2 * max(1, round(2 * scale)) + 1
    # only the part of the picture that the text is in
    top, left = max(place[1] - 2 * high - side, 0), max(place[0] - side, 0)
    picture = picture[top : place[1] + high + side, left : place[0] + wide + 2 * side]
    if not picture.size:
        return
    ink = np.zeros(picture.shape[:2], np.uint8)
    at = place[0] - left, place[1] - top
    cv2.putText(ink, text, at, _FONT, scale, 255, weight, cv2.LINE_AA)
    rim = cv2.dilate(ink, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    for opacity, grey in ((rim * 0.85, 255.0), (ink, 0.0)):
        share = (opacity / 255)[..., None]
        picture[:] = np.rint(picture * (1 - share) + grey * share).astype(np.uint8)


def _draw_scale(picture: NDArray[np.uint8], pixel_um: float) -> None:
    """Draw a bar of a round length in the lower right corner, black with a white rim."""
    height, width = picture.shape[:2]
    length = scale_length(width * pixel_um)
    across = max(round(length / pixel_um), 1)
    scale = _text_scale(picture.shape)
    margin, thick = max(round(width / 40), 3), max(round(height / 150), 2)
    right, bottom = width - margin, height - margin
    corners = (right - across, bottom - thick), (right - 1, bottom - 1)
    rim = 2
    cv2.rectangle(
        picture,
        (corners[0][0] - rim, corners[0][1] - rim),
        (corners[1][0] + rim, corners[1][1] + rim),
        (255, 255, 255),
        -1,
    )
    cv2.rectangle(picture, *corners, (0, 0, 0), -1)
    # the font of OpenCV has no µ
    text = scale_text(length).replace("µ", "u")
    (wide, high), _ = cv2.getTextSize(text, _FONT, scale, max(1, round(scale * 1.6)))
    x = min(right - across // 2, width - wide // 2 - 2)
    _write(picture, text, (x, bottom - thick - high), scale)


def _feature(outline: Outline, canvas: Canvas) -> dict[str, Any]:
    shapely = need("shapely", "atlas", "GeoJSON files")
    # four digits: far finer than what lines leave between them
    placed = [
        [np.round(canvas.corners(ring), 4) for ring in polygon] for polygon in outline.polygons
    ]
    polygons = [shapely.Polygon(exterior, holes) for exterior, *holes in placed]
    shape = polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
    key = f"{outline.id}/{outline.hemisphere}"
    parent = outline.parent
    path = "/".join([*(structure.acronym for structure in outline.ancestors), outline.acronym])
    return {
        "type": "Feature",
        # QuPath wants one for each object; the same structure has the same one in every file
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"atldld structure {key}")),
        # exterior rings run counterclockwise, as GeoJSON (RFC 7946) wants them
        "geometry": shapely.geometry.mapping(shapely.orient_polygons(shape)),
        "properties": {
            "objectType": "annotation",
            "name": outline.name,
            "color": list(outline.rgb),
            "classification": {"name": outline.acronym, "color": list(outline.rgb)},
            "isLocked": True,
            # texts, which QuPath keeps with the object
            "metadata": {
                "structure_id": str(outline.id),
                "acronym": outline.acronym,
                "parent": parent.acronym if parent else "",
                "path": path,
                "hemisphere": outline.hemisphere,
            },
            "structure_id": outline.id,
            "acronym": outline.acronym,
            "structure_name": outline.name,
            "parent_id": parent.id if parent else None,
            "parent": parent.acronym if parent else None,
            "path": _id_path(outline),
            "acronym_path": path,
            "hemisphere": outline.hemisphere,
        },
    }


def _group(
    parent: ElementTree.Element, structure: Structure | Outline, depth: int
) -> ElementTree.Element:
    """Put the group of a structure that others lie in into that of its parent."""
    group = ElementTree.SubElement(
        parent,
        "g",
        {
            "id": f"group-{structure.id}",
            "class": f"group depth-{depth}",
            f"{{{_INKSCAPE}}}label": shown(structure.acronym),
            "data-structure-id": str(structure.id),
            "data-acronym": shown(structure.acronym),
            "data-name": shown(structure.name),
        },
    )
    ElementTree.SubElement(group, "title").text = shown(f"{structure.acronym}: {structure.name}")
    return group


def _id_path(outline: Outline) -> str:
    """Return ids from the root on, as the institute writes them."""
    return "".join(f"/{structure_id}" for structure_id in outline.path) + "/"


def _path_data(points: Points) -> str:
    written = " ".join(f"{x:.2f},{y:.2f}" for x, y in points[:-1])
    return f"M{written}Z"


def _data_uri(picture: NDArray[np.uint8]) -> str:
    import simplejpeg

    jpeg = simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture), quality=85, colorspace="RGB", colorsubsampling="420"
    )
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
