"""The outlines of a section as a file: what to draw, checked before anything is fetched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.atlas.drawing import draw_outlines, write_geojson, write_svg
from atldld.atlas.model import Atlas, check_space
from atldld.atlas.outlines import EVERYTHING, Frame, Outline, Selection, section_outlines
from atldld.errors import InvalidInputError
from atldld.place.spaces import Grid
from atldld.sections.register import Recipe, fetch, warp
from atldld.support.files import check_folder, check_targets, whole_file

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.place.sections import PlacedSection
    from atldld.records import SectionDataSet

__all__ = ["Drawing", "check_drawings", "write_drawing"]


@dataclass(frozen=True, slots=True)
class Drawing:
    """What to draw, and how.

    Attributes
    ----------
    format : {"svg", "geojson", "png"}
        A drawing, annotations for QuPath, or lines on the picture.
    frame : {"image", "reference"}
        Over the raw picture at the tier `downsample`, or over the one on the reference grid.
    resolution : float
        The annotation is sampled on the reference grid, in the section's own plane, at this many
        µm.
    downsample : int
        The tier of the raw picture.
    selection : Selection
        Which structures, and how finely.
    picture : bool
        Whether an SVG holds the picture.
    labels : bool
        Whether a PNG has the structures' acronyms.
    scale_bar : bool
        Whether a PNG has a scale bar.
    """

    format: Literal["svg", "geojson", "png"] = "svg"
    frame: Frame = "image"
    resolution: float = 25
    downsample: int = 3
    selection: Selection = EVERYTHING
    picture: bool = False
    labels: bool = False
    scale_bar: bool = True

    def __post_init__(self) -> None:
        if self.labels and self.format != "png":
            raise InvalidInputError(
                "Only a PNG has labels; SVG and GeoJSON hold the structures' names themselves."
            )
        if self.picture and self.format != "svg":
            raise InvalidInputError("Only an SVG can hold the picture; a PNG always does.")

    def check_record(self, record: SectionDataSet) -> None:
        """Refuse a data set of another brain than the adult one, before anything is fetched."""
        check_space(record)

    def check_structures(self, atlas: Atlas) -> None:
        """Refuse structures that the atlas lacks."""
        for name in self.selection.names or ():
            atlas.graph.find(name)


def check_drawings(
    folder: str | Path,
    drawing: Drawing,
    sections: Iterable[PlacedSection] = (),
    *,
    force: bool = False,
) -> None:
    """Check that drawings can be written into a folder, before they are made.

    Parameters
    ----------
    folder : str or pathlib.Path
        Where.
    drawing : Drawing
        What to draw.
    sections : iterable of Section
        Of which sections, as far as that is known.
    force : bool
        Whether files that are there may be replaced.

    Raises
    ------
    OutputError
        If a file exists and `force` is false, or the folder cannot be written to.
    """
    check_folder(folder)
    check_targets([_path(folder, section, drawing) for section in sections], force=force)


def _path(folder: str | Path, section: PlacedSection, drawing: Drawing) -> Path:
    return Path(folder) / f"{section.id}_outlines.{drawing.format}"


def write_drawing(
    section: PlacedSection,
    atlas: Atlas,
    drawing: Drawing,
    folder: str | Path,
    *,
    session: Session,
    force: bool = False,
) -> tuple[Path, tuple[Outline, ...]]:
    """Write the outlines of an atlas's structures on one section.

    Parameters
    ----------
    section : PlacedSection
        The section.
    atlas : Atlas
        The atlas.
    drawing : Drawing
        What to draw.
    folder : str or pathlib.Path
        Where; made if need be.
    session : Session
        Where a picture comes from, if one is drawn.
    force : bool
        Replace a file that is there.

    Returns
    -------
    path : pathlib.Path
        The file: ``<image id>_outlines.<format>``.
    outlines : tuple of Outline
        What is in it.

    Raises
    ------
    OutputError
        If the file cannot be written, or exists and `force` is false.
    ServiceError
        If the picture cannot be fetched.
    """
    path = _path(folder, section, drawing)
    check_targets([path], force=force)
    on_grid = drawing.frame == "reference"
    # On the reference grid also for the raw picture, whose pixels are many times finer than any
    # atlas: the lines are taken there exactly, by the section's own map.
    found = section_outlines(
        section, atlas, drawing.resolution, drawing.selection, frame=drawing.frame
    )
    if drawing.format == "geojson":
        write_geojson(
            path,
            found,
            downsample=drawing.downsample,
            resolution=drawing.resolution,
            coordinates=section.coordinates,
            force=force,
        )
        return path, found
    picture = (
        _picture(section, drawing, session) if drawing.format == "png" or drawing.picture else None
    )
    if drawing.format == "png" and picture is not None:
        side = drawing.resolution
        if not on_grid:
            side = (section.image.resolution or 0) * 2**drawing.downsample
        drawn = draw_outlines(
            picture,
            found,
            downsample=drawing.downsample,
            resolution=drawing.resolution,
            labels=drawing.labels,
            pixel_um=side if drawing.scale_bar and side > 0 else None,
        )
        with whole_file(path, force=force) as temporary:
            temporary.write_bytes(cv2.imencode(".png", drawn[..., ::-1])[1].tobytes())
        return path, found
    if on_grid:
        rows, columns = Grid(section.plane, drawing.resolution).shape
    else:
        columns, rows = section.image.size(drawing.downsample)
    write_svg(
        path,
        found,
        (columns, rows),
        downsample=drawing.downsample,
        resolution=drawing.resolution,
        picture=picture,
        title=f"Section {section.number}, image {section.id}",
        description=f"Outlines of {atlas.name} at {atlas.resolution:g} µm, where the section lies "
        f"in the coordinates of {section.coordinates}. {atlas.citation}",
        force=force,
    )
    return path, found


def _picture(section: PlacedSection, drawing: Drawing, session: Session) -> NDArray[np.uint8]:
    if drawing.frame == "reference":
        job = Recipe(drawing.resolution).plan(section)
        return warp(job, fetch(job, session), session).image
    return session.pixels(section.image, drawing.downsample)
