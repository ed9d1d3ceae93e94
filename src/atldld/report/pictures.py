"""The pictures of a report: small files, outlines as short paths, slices of the volume."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.atlas.outlines import Outline, Selection, bend_outlines, outlines
from atldld.atlas.sample import on_reference, voxel_side
from atldld.errors import AtldldError
from atldld.place import Affine
from atldld.place.planes import OutputPlane
from atldld.place.spaces import AXES
from atldld.support.memory import let_go
from atldld.warp.stain import EXPRESSING, JET, read_mask

if TYPE_CHECKING:
    from atldld.atlas import Atlas
    from atldld.fetch.session import Session
    from atldld.sections.register import RegisteredSection
    from atldld.volume.model import Volume
    from atldld.warp.stain import Scale

__all__ = [
    "Artist",
    "Before",
    "Picture",
    "Shape",
    "Slices",
    "Views",
    "cut",
    "encode",
    "matrix_to_raw",
    "shapes_of",
    "silhouette",
    "tier_to_raw",
    "transparent",
    "views_of",
]

QUALITY = 77
"""Of the pictures, as JPEG and WebP count it."""

RAW_SIDE = 800
"""The longest side of a raw picture, in pixels."""

THUMB_SIDE = 168

STEPS = 4
"""Outlines are kept in whole numbers of a quarter of a pixel."""

SLICE_EVERY = 100.0
"""From one slice of the volume to the next, in µm."""

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture.

    Attributes
    ----------
    kind : str
        Its media type.
    data : bytes
        The file.
    width, height : int
        In pixels.
    """

    kind: str
    data: bytes
    width: int
    height: int

    @property
    def uri(self) -> str:
        """The picture as an address that holds it."""
        return f"data:{self.kind};base64,{base64.b64encode(self.data).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class Shape:
    """A structure on a section.

    Attributes
    ----------
    id : int
        Of the structure.
    area : float
        In mm² of the section's picture.
    path : str
        Its outline as SVG's path data, in quarters of a pixel from the corner of the first one.
    """

    id: int
    area: float
    path: str


@dataclass(frozen=True, slots=True)
class Before:
    """A section as it lay before it was moved, and where the atlas's structures lay on it.

    Attributes
    ----------
    shapes : tuple of Shape
        On the picture on the reference grid, which is of where the section lies now.
    raw_shapes : tuple of Shape
        On the raw picture, in quarters of a pixel of its tier.
    registered : Picture or None
        The section on the reference grid as it lay then.
    own_shapes : tuple of Shape
        The structures on that picture.
    """

    shapes: tuple[Shape, ...]
    raw_shapes: tuple[Shape, ...]
    registered: Picture | None = None
    own_shapes: tuple[Shape, ...] = ()


@dataclass(frozen=True, slots=True)
class Views:
    """All that is shown of one section.

    Attributes
    ----------
    registered, thumb : Picture
        On the reference grid.
    raw, template, mask : Picture or None
        As scanned; the atlas's template in the same plane; the expression mask, transparent where
        nothing is expressed.
    problems : dict
        Why one of them is missing.
    shapes : tuple of Shape
        The atlas's structures, the largest first.
    names : dict
        Acronym, name and colour of each, by id.
    raw_shapes : tuple of Shape, or None
        Of a curved section: the shapes as they lie on the raw picture, in quarters of a pixel of
        its tier from the corner of the first one.
    before : Before or None
        Of a section that an alignment has moved: where the structures lay before.
    expression : float or None
        How much is expressed on the section: the area in mm² that would express as much at the
        highest level of the masks' scale. `None` without a mask.
    """

    registered: Picture
    thumb: Picture
    raw: Picture | None
    template: Picture | None
    mask: Picture | None
    problems: dict[str, str]
    shapes: tuple[Shape, ...]
    names: dict[int, tuple[str, str, str]]
    raw_shapes: tuple[Shape, ...] | None = None
    before: Before | None = None
    expression: float | None = None


@dataclass(frozen=True, slots=True)
class Slices:
    """A volume cut across one axis.

    Attributes
    ----------
    axis : str
        p, i or r: what it is cut across.
    title : str
        The plane's name.
    ends : tuple of 4 str
        What lies left, right, up and down.
    step : float
        From one slice to the next, in µm; slice k is at (k + ½) · step.
    start : int
        The slice to begin with: in the middle of what is known.
    pictures, lines : tuple of Picture
        The slices, and the borders of the structures in them, black on white.
    """

    axis: str
    title: str
    ends: tuple[str, str, str, str]
    step: float
    start: int
    pictures: tuple[Picture, ...]
    lines: tuple[Picture, ...]


def encode(pixels: Pixels, quality: int = QUALITY) -> Picture:
    """Return pixels as JPEG, or as WebP where some are transparent.

    WebP is a sixth smaller and takes twenty times as long.

    Parameters
    ----------
    pixels : numpy.ndarray, shape (height, width), (height, width, 3) or (height, width, 4), uint8
        Grey, RGB, or RGB and opacity.
    quality : int
        1 to 100.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        turned = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA)
        return _encoded("webp", turned, [cv2.IMWRITE_WEBP_QUALITY, quality])
    turned = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return _encoded(
        "jpeg", turned, [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    )


def _encoded(kind: str, pixels: NDArray[Any], options: list[int]) -> Picture:
    done, data = cv2.imencode(f".{kind}", pixels, options)
    if not done:
        raise AtldldError(f"A picture of the report cannot be encoded as {kind.upper()}.")
    return Picture(f"image/{kind}", data.tobytes(), pixels.shape[1], pixels.shape[0])


@dataclass(frozen=True)
class Artist:
    """What sections are drawn with: the same for all of a report.

    Attributes
    ----------
    atlas : Atlas or None
        Without it there is no template and there are no outlines.
    session : Session
        Where the pictures as scanned come from.
    scale : Scale
        The colours of the expression masks.
    """

    atlas: Atlas | None
    session: Session
    scale: Scale = JET

    @cached_property
    def resolution(self) -> float:
        """Side of a voxel of the template, in µm."""
        template = None if self.atlas is None else self.atlas.template
        return 0.0 if template is None else voxel_side(template)

    @cached_property
    def white(self) -> float:
        """The grey value of the template that is shown as white: the same for all sections."""
        template = None if self.atlas is None else self.atlas.template
        return 255.0 if template is None else _white(template)


def views_of(
    registered: RegisteredSection,
    artist: Artist,
    *,
    start: RegisteredSection | None = None,
    curve_is_known: bool = True,
) -> Views:
    """Return all that is shown of a section: its pictures, and the structures on it.

    Parameters
    ----------
    registered : RegisteredSection
        On the reference grid.
    artist : Artist
        What it is drawn with.
    start : RegisteredSection, optional
        The same section as it lay before, if it has moved.
    curve_is_known : bool
        Whether outlines can be laid over the picture as scanned; how the section is curved must be
        known for that.
    """
    atlas = artist.atlas
    problems: dict[str, str] = {}
    plane = registered.plane
    raw = None
    try:
        raw = encode(_shrunk(_raw(registered, artist.session), RAW_SIDE))
    except (AtldldError, OSError) as error:
        problems["raw"] = (
            error.message
            if isinstance(error, AtldldError)
            else "The picture as scanned is not in the cache."
        )
    mask, expression = None, None
    if registered.mask is not None:
        mask = encode(transparent(registered.mask))
        expression = _expression(registered.mask, artist.scale, plane.grid.resolution)
    elif registered.files.mask_problem:
        problems["mask"] = registered.files.mask_problem
    template = None
    shapes: tuple[Shape, ...] = ()
    names: dict[int, tuple[str, str, str]] = {}
    raw_shapes: tuple[Shape, ...] | None = None
    before: tuple[Before | None, dict[int, tuple[str, str, str]]] = None, {}
    if atlas is not None:
        drawn = _outlines(plane, atlas)
        shapes = shapes_of(drawn, plane.grid.resolution)
        names = {outline.id: (outline.acronym, outline.name, outline.color) for outline in drawn}
        template = _template(plane, artist, problems)
        if plane.deformation is not None:
            raw_shapes = _on_raw(drawn, plane, registered.downsample)
        if not curve_is_known:
            raw_shapes = ()
            problems["outlines"] = (
                "How the section is curved is not known, so no outlines lie over the picture as "
                "scanned."
            )
    if start is not None:
        before = _before(start, plane, registered.downsample, atlas)
        names |= before[1]
    return Views(
        registered=encode(registered.image),
        thumb=encode(_shrunk(registered.image, THUMB_SIDE), 68),
        raw=raw,
        template=template,
        mask=mask,
        problems=problems,
        shapes=shapes,
        names=names,
        raw_shapes=raw_shapes,
        before=before[0],
        expression=expression,
    )


def matrix_to_raw(plane: OutputPlane, downsample: int = 0) -> tuple[float, ...]:
    """Return the way from quarters of a pixel on the grid to the raw picture, as SVG writes it.

    Both are counted from the corner of the first pixel, the raw picture in full-resolution pixels;
    `OutputPlane.to_image` counts from centres. Of a curved section it is the way from quarters of a
    pixel of the tier: what is drawn then lies on the raw picture already.
    """
    if plane.deformation is not None:
        return tier_to_raw(downsample)
    linear = plane.to_image[:, :2]
    shift = plane.to_image[:, 2] - linear @ (0.5, 0.5) + 0.5
    a, b, c, d = (linear / STEPS).T.ravel()
    return float(a), float(b), float(c), float(d), float(shift[0]), float(shift[1])


def tier_to_raw(downsample: int) -> tuple[float, ...]:
    """Return the way from quarters of a pixel of a tier to the raw picture, as SVG writes it."""
    side = (1 << downsample) / STEPS
    return side, 0.0, 0.0, side, 0.0, 0.0


def shapes_of(drawn: Sequence[Outline], resolution: float) -> tuple[Shape, ...]:
    """Return outlines as shapes, the largest first.

    Parameters
    ----------
    drawn : sequence of Outline
        In pixels from the corner of the first one.
    resolution : float
        Side of a pixel, in µm.
    """
    found = [
        Shape(
            outline.id,
            outline.area * (resolution / 1000) ** 2,
            _paths(outline),
        )
        for outline in drawn
    ]
    return tuple(sorted(found, key=lambda shape: -shape.area))


def cut(volume: Volume, atlas: Atlas | None, jobs: int) -> tuple[Slices, ...]:
    """Cut a volume in three planes, a slice every 100 µm.

    Parameters
    ----------
    volume : Volume
        RGB.
    atlas : Atlas, optional
        Its structures' borders are drawn in pictures of their own.
    jobs : int
        Threads.
    """
    # voxels are averaged to about 50 µm: the page shows no more
    block = max(round(50 / volume.resolution), 1)
    small, filled = _averaged(volume.data, block)
    side = volume.resolution * block
    labels = None if atlas is None else _labels(atlas, filled.shape, side)
    # white, not black, where nothing is known
    small[~filled] = 255
    every = max(round(SLICE_EVERY / side), 1)
    views = (
        (0, "Coronal", (1, 2), ("left", "right", "dorsal", "ventral")),
        (2, "Sagittal", (1, 0), ("anterior", "posterior", "dorsal", "ventral")),
        (1, "Horizontal", (2, 0), ("anterior", "posterior", "left", "right")),
    )
    made = []
    with ThreadPoolExecutor(jobs, thread_name_prefix="slices") as pool:
        for axis, title, (rows, columns), ends in views:
            places = range(every // 2, small.shape[axis], every)
            planes = [_plane(small, axis, k, rows > columns) for k in places]
            lines: tuple[Picture, ...] = ()
            if labels is not None:
                cuts = [_plane(labels, axis, k, rows > columns) for k in places]
                lines = tuple(pool.map(_borders, cuts))
            pictures = tuple(pool.map(_encode_slice, planes))
            # the slice in which half of what is known lies before, half behind
            known = np.cumsum(filled.sum(axis=tuple({0, 1, 2} - {axis})))
            middle = int(np.searchsorted(known, known[-1] / 2)) // every
            start = min(middle, len(pictures) - 1)
            made.append(Slices(AXES[axis], title, ends, every * side, start, pictures, lines))
    return tuple(made)


def _plane(array: NDArray[Any], axis: int, place: int, turned: bool) -> NDArray[Any]:
    plane = array[(slice(None),) * axis + (place,)]
    return np.ascontiguousarray(plane.swapaxes(0, 1) if turned else plane)


def _encode_slice(pixels: Pixels) -> Picture:
    return encode(pixels, 66)


def _raw(registered: RegisteredSection, session: Session) -> Pixels:
    section = registered.section
    # finer tiers would be made smaller right away
    longest = max(section.image.size(registered.downsample))
    reduction = next(size for size in (8, 4, 2, 1) if longest // size >= RAW_SIDE or size == 1)
    return session.pixels(
        section.image, registered.downsample, reduction=reduction, held=registered.files.image
    )


def _shrunk(pixels: Pixels, longest: int) -> Pixels:
    height, width = pixels.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return pixels
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def transparent(mask: Pixels) -> Pixels:
    """Return an expression mask with its black as transparency, its colours at full brightness."""
    red, green, blue = cv2.split(mask)
    brightest = np.asarray(cv2.max(cv2.max(red, green), blue), dtype=np.uint8)
    # black stays black: what is divided by nothing is nothing
    bright = cv2.divide(mask, cv2.merge([brightest] * 3), scale=255)
    # what is noise on black does not count as expressing elsewhere either
    # (opacity is kept without loss, so few levels of it save much)
    opacity = np.where(brightest > EXPRESSING, brightest | 63, 0).astype(np.uint8)
    return np.dstack((bright, opacity))


def _template(plane: OutputPlane, artist: Artist, problems: dict[str, str]) -> Picture | None:
    atlas = artist.atlas
    if atlas is None:
        return None
    try:
        volume = atlas.template
    except AtldldError as error:
        problems["template"] = str(error)
        return None
    if volume is None:
        problems["template"] = f"The atlas {atlas.name} has no template."
        return None
    # pixels lie at the centres of voxels of their size, and across the plane half a voxel is little
    order: Literal[0, 1] = 0 if artist.resolution == plane.grid.resolution else 1
    grey = on_reference(volume, plane, order=order)
    return encode(np.clip(grey * (255 / artist.white), 0, 255).astype(np.uint8), 68)


def _white(volume: NDArray[Any]) -> float:
    """Return the grey value that is brighter than nearly all of a template."""
    if volume.dtype == np.uint8:
        return 255.0
    step = max(min(volume.shape) // 64, 1)
    seen = volume[::step, ::step, ::step]
    inside = seen[seen > 0]
    return float(np.percentile(inside, 99.8)) if inside.size else 1.0


def _outlines(plane: OutputPlane, atlas: Atlas) -> tuple[Outline, ...]:
    labels = on_reference(atlas.annotation, plane)
    # to pixels from the corner of the first one, whose centre is at ½
    to_corner = Affine(np.array([[1, 0, 0.5], [0, 1, 0.5]]), "output pixel", "page")
    return outlines(labels, to_corner, atlas.graph, Selection(tolerance=0.6, smallest=3))


def _on_raw(drawn: Sequence[Outline], plane: OutputPlane, downsample: int) -> tuple[Shape, ...]:
    """Return outlines of a picture on the grid as they lie on the raw picture at a tier."""

    def bend(points: Points) -> Points:
        # both from corners of the first pixels
        return (plane.shown(points - 0.5) + 0.5) / (1 << downsample)

    return _bent(drawn, bend, plane.grid.resolution)


def _bent(
    drawn: Sequence[Outline], bend: Callable[[Points], Points], resolution: float
) -> tuple[Shape, ...]:
    flat = sorted(drawn, key=lambda outline: -outline.area)
    return tuple(
        Shape(outline.id, outline.area * (resolution / 1000) ** 2, _paths(bent))
        for outline, bent in zip(flat, bend_outlines(flat, bend, 1 / STEPS, "image"), strict=True)
    )


def _before(
    start: RegisteredSection, plane: OutputPlane, downsample: int, atlas: Atlas | None
) -> tuple[Before, dict[int, tuple[str, str, str]]]:
    """Return a section, which now lies in a plane, as it lay before, and its structures' names."""
    picture = encode(start.image)
    if atlas is None:
        return Before((), (), picture), {}
    then = start.plane
    drawn = _outlines(then, atlas)
    to_grid = plane.pixel_to_image.inverse()

    def bend(points: Points) -> Points:
        # through the section's own picture, which both show
        xy = then.shown(points - 0.5)
        flat = xy if plane.deformation is None else plane.deformation.to_flat(xy)
        return to_grid.apply(flat) + 0.5

    before = Before(
        _bent(drawn, bend, plane.grid.resolution),
        _on_raw(drawn, then, downsample),
        picture,
        shapes_of(drawn, plane.grid.resolution),
    )
    return before, {outline.id: (outline.acronym, outline.name, outline.color) for outline in drawn}


def _expression(mask: Pixels, scale: Scale, resolution: float) -> float:
    """Return the area, in mm², that would express as much at the highest level."""
    # every other pixel tells sections apart as well
    found = read_mask(np.ascontiguousarray(mask[::2, ::2]), scale=scale)
    total = float(found.intensity.sum(dtype=np.int64))
    return total / 255 * (2 * resolution / 1000) ** 2


def _paths(outline: Outline) -> str:
    return "".join(_path(ring) for polygon in outline.polygons for ring in polygon)


def _path(ring: NDArray[np.float64]) -> str:
    """Return a ring as short path data: whole numbers, each point from the one before."""
    points = np.rint(ring[:-1] * STEPS).astype(int)
    steps = np.diff(points, axis=0)
    steps = steps[steps.any(axis=1)].tolist()
    moves = " ".join(f"{x} {y}" for x, y in steps)
    x, y = points[0].tolist()
    return f"M{x} {y}l{moves}z".replace(" -", "-") if steps else ""


def _averaged(data: Pixels, block: int) -> tuple[Pixels, NDArray[np.bool_]]:
    """Return the mean of blocks of voxels, of those that hold something, and which do."""
    if block == 1:
        return np.array(data, order="C"), np.ascontiguousarray(data.any(axis=-1))
    p, i, r = (side // block for side in data.shape[:3])
    # sums of strided views, in whatever order the volume lies in memory
    total: NDArray[Any] = np.zeros_like(data[:p, :i, :r], dtype=np.uint32)
    count: NDArray[Any] = np.zeros_like(total[..., 0], dtype=np.uint32)
    for place in np.ndindex(block, block, block):
        a, b, c = place
        part = data[a : p * block : block, b : i * block : block, c : r * block : block]
        total += part
        count += part.any(axis=-1)
    total += count[..., None] // 2
    total //= np.maximum(count, 1)[..., None]
    return np.ascontiguousarray(total.astype(np.uint8)), np.ascontiguousarray(count > 0)


def _labels(atlas: Atlas, shape: tuple[int, ...], side: float) -> NDArray[np.integer[Any]]:
    """Return the annotation at the centres of voxels."""
    places = [
        np.minimum(((np.arange(count) + 0.5) * side / atlas.resolution).astype(int), have - 1)
        for count, have in zip(shape, atlas.annotation.shape, strict=True)
    ]
    out = np.empty(shape, atlas.annotation.dtype)
    # along the axis that is slowest in memory, so that little of a file is mapped at a time
    axis = 2 if atlas.annotation.flags.f_contiguous else 0
    for start in range(0, shape[axis], 16):
        part = (slice(None),) * axis + (slice(start, start + 16),)
        chosen = [*places[:axis], places[axis][start : start + 16], *places[axis + 1 :]]
        out[part] = atlas.annotation[np.ix_(*chosen)]
        let_go(atlas.annotation)
    return out


def _borders(labels: NDArray[Any]) -> Picture:
    """Return where structures meet, at twice the size: black on white, one bit for each pixel."""
    height, width = labels.shape
    pixels = np.full((2 * height, 2 * width), 255, dtype=np.uint8)
    # the first row or column, at twice the size, of a pixel that differs from the one before
    pixels[2::2][(labels[1:] != labels[:-1]).repeat(2, axis=1)] = 0
    pixels[:, 2::2][(labels[:, 1:] != labels[:, :-1]).repeat(2, axis=0)] = 0
    return _encoded("png", pixels, [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 6])


def silhouette(atlas: Atlas, rows: int, columns: int) -> str:
    """Return the brain's outline seen along an axis, as SVG's path data in µm.

    Parameters
    ----------
    atlas : Atlas
        Its annotation says where the brain is.
    rows, columns : int
        Reference axes that run down and across.
    """
    across = 3 - rows - columns
    step = max(round(100 / atlas.resolution), 1)
    side = step * atlas.resolution
    seen: NDArray[np.bool_] = np.any(atlas.annotation[::step, ::step, ::step] != 0, axis=across)
    if rows > columns:
        seen = seen.T
    to_um = Affine(np.array([[side, 0, side / 2], [0, side, side / 2]]), "output pixel", "page")
    drawn = outlines(
        seen.astype(np.uint8), to_um, atlas.graph, Selection(tolerance=0.4, smallest=30)
    )
    return "".join(
        "M" + "L".join(f"{x:.0f},{y:.0f}" for x, y in ring[:-1]) + "Z"
        for outline in drawn
        for polygon in outline.polygons
        for ring in polygon[:1]
    )
