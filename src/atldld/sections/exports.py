"""A data set as files that other tools open, each kind by one call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from atldld.formats.quicknii import MARKER_TOLERANCE, check_quicknii, image_name, write_quicknii
from atldld.place.planes import Cut
from atldld.place.sections import PlacedSection
from atldld.sections.files import check_fields, write_fields, write_sections
from atldld.sections.folder import check_one_dataset
from atldld.sections.images import copy_images
from atldld.sections.register import Recipe
from atldld.support.files import check_targets
from atldld.support.notebook import Progressing, progressing

if TYPE_CHECKING:
    from atldld.atlas.model import Atlas
    from atldld.atlas.outlines import Choice
    from atldld.sections.opened import OpenedDataSet

__all__ = ["Exports", "FieldFormat"]

FieldFormat = Literal["itk", "zarr", "npy"]
"""MetaImage in mm for ITK and ANTs, OME-Zarr, or NumPy in pixels."""

FIELD_ENDINGS: dict[str, str] = {"itk": ".mha", "zarr": ".ome.zarr", "npy": ".npy"}


@dataclass(frozen=True, repr=False)
class Exports:
    """The files of other tools that a data set can be written to: ``ds.export.quicknii(path)``.

    Attributes
    ----------
    dataset : OpenedDataSet
        What is written.
    """

    dataset: OpenedDataSet

    def quicknii(
        self,
        path: str | Path,
        *,
        images: bool = False,
        downsample: int = 3,
        image_ending: Literal[".jpg", ".png"] = ".jpg",
        tolerance: float = MARKER_TOLERANCE,
        force: bool = False,
        progress: Progressing = None,
    ) -> Path:
        """Write the alignment for QuickNII, VisuAlign, ABBA and PyNutil.

        Parameters
        ----------
        path : str or pathlib.Path
            ``.json``, or ``.csv`` for DeepSlice's flat table.
        images : bool
            Write the images too, beside the file.
        downsample : int
            The tier of the images that the file goes with.
        image_ending : {".jpg", ".png"}
            Of the images.
        tolerance : float
            How far, in µm, the markers of a curved section may lead from where it lies.
        force : bool
            Replace files that are there.
        progress : callable or bool, optional
            As for `atldld.DataSet.volume`.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        InvalidInputError, AlignmentMissingError, OutputError
            See `atldld.formats.write_quicknii`.
        ServiceError
            If an image cannot be fetched.
        """
        path, dataset = Path(path), self.dataset
        check_quicknii(path, force=force)
        if images:
            check_one_dataset(path.parent, dataset.id, dataset.image_ids, force=force)
        pictures = {
            path.parent / image_name(section.image, image_ending): section.image
            for section in dataset.sections
            if images
        }
        check_targets(pictures, force=force)
        written = write_quicknii(
            dataset,
            path,
            downsample=downsample,
            image_ending=image_ending,
            tolerance=tolerance,
            force=force,
        )
        if pictures:
            with progressing(progress, f"Images of {dataset.id}") as show:
                copy_images(dataset.session, pictures, downsample, force=force, progress=show)
        return written

    def fields(
        self,
        folder: str | Path,
        *,
        format: FieldFormat = "itk",
        resolution: float = 25,
        cut: Cut = "oblique",
        force: bool = False,
        progress: Progressing = None,
    ) -> Path:
        """Write the displacement field of every section; no image is fetched.

        Parameters
        ----------
        folder : str or pathlib.Path
            Made if need be.
        format : {"itk", "zarr", "npy"}
            MetaImage in mm for ITK and ANTs, OME-Zarr, or NumPy in pixels.
        resolution : float
            Side of an output pixel, in µm.
        cut : {"oblique", "parallel"}
            The section's own plane, or one of constant third coordinate.
        force : bool
            Replace files that are there.
        progress : callable or bool, optional
            As for `atldld.DataSet.volume`.

        Returns
        -------
        pathlib.Path
            ``fields.json`` in the folder, which tells what each file is of.

        Raises
        ------
        InvalidInputError
            If there is no such format, or the resolution is not valid.
        OutputError
            If a file cannot be written, or exists and `force` is false.
        """
        ending = _ending_of(format)
        check_fields(folder, ending, force=force)
        recipe = Recipe(resolution, cut)
        with progressing(progress, f"Fields of {self.dataset.id}") as show:
            return write_fields(self.dataset, folder, recipe, ending, force=force, progress=show)

    def sections(
        self,
        folder: str | Path,
        *,
        resolution: float = 25,
        cut: Cut = "oblique",
        expression: bool = False,
        jobs: int | None = None,
        force: bool = False,
        progress: Progressing = None,
    ) -> list[Path]:
        """Write every registered section as an OME-TIFF in µm.

        Parameters
        ----------
        folder : str or pathlib.Path
            Made if need be; the files are ``<image_id>.ome.tif``.
        resolution : float
            Side of an output pixel, in µm.
        cut : {"oblique", "parallel"}
            The section's own plane, or one of constant third coordinate.
        expression : bool
            The expression masks too, as a second picture of each file.
        jobs : int, optional
            Threads that decode and warp; the number of cores by default.
        force : bool
            Replace files that are there.
        progress : callable or bool, optional
            As for `atldld.DataSet.volume`.

        Returns
        -------
        list of pathlib.Path
            What was written.

        Raises
        ------
        InvalidInputError, AlignmentMissingError, OutputError
            See `atldld.sections.files.write_sections`.

        Warns
        -----
        SkippedImageWarning
            If a section, or its mask, cannot be fetched; it is left out.
        """
        recipe = Recipe(resolution, cut, expression=expression)
        with progressing(progress, f"Sections of {self.dataset.id}") as show:
            return write_sections(
                self.dataset,
                folder,
                recipe,
                session=self.dataset.session,
                jobs=jobs,
                force=force,
                progress=show,
            )

    def outlines(
        self,
        folder: str | Path,
        atlas: Atlas,
        *,
        format: Literal["svg", "geojson", "png"] = "svg",
        frame: Literal["image", "reference"] = "image",
        resolution: float = 25,
        downsample: int = 3,
        picture: bool = False,
        sections: PlacedSection | Iterable[PlacedSection] | None = None,
        force: bool = False,
        progress: Progressing = None,
        **selection: Unpack[Choice],
    ) -> list[Path]:
        """Write the outlines of the atlas's structures on every section.

        Parameters
        ----------
        folder : str or pathlib.Path
            Made if need be; the files are ``<image_id>_outlines.<format>``.
        atlas : Atlas
            Which structure is where.
        format : {"svg", "geojson", "png"}
            A drawing, annotations for QuPath, or lines on the picture.
        frame : {"image", "reference"}
            Over the raw picture at the tier `downsample`, or over the one on the reference grid.
        resolution : float
            The annotation is sampled every so many µm.
        downsample : int
            The tier of the raw picture.
        picture : bool
            Put the picture into the SVG, behind the outlines.
        sections : Section or iterable of Section, optional
            Only these.
        force : bool
            Replace files that are there.
        progress : callable or bool, optional
            As for `atldld.DataSet.volume`.
        **selection
            Which structures, and how finely: the attributes of `atldld.atlas.Selection`, such as
            ``structures=["HPF"]``, ``depth=3`` or ``hemisphere="each"``.

        Returns
        -------
        list of pathlib.Path
            What was written.

        Raises
        ------
        InvalidInputError
            If an option makes no sense.
        NotFoundError
            If the atlas has no such structure.
        OutputError
            If a file cannot be written, or exists and `force` is false.
        ServiceError
            If a picture is drawn and cannot be fetched.
        """
        from atldld.atlas.outlines import Selection
        from atldld.sections.drawings import Drawing, check_drawings, write_drawing

        drawing = Drawing(format, frame, resolution, downsample, Selection(**selection), picture)
        chosen = self.dataset.chosen(sections)
        check_drawings(folder, drawing, chosen, force=force)
        drawing.check_record(self.dataset.record)
        drawing.check_structures(atlas)
        written = []
        with progressing(progress, f"Outlines of {self.dataset.id}") as show:
            for done, section in enumerate(chosen, 1):
                path, _ = write_drawing(
                    section, atlas, drawing, folder, session=self.dataset.session, force=force
                )
                written.append(path)
                if show:
                    show(done, len(chosen), path.name)
        return written

    def __repr__(self) -> str:
        return f"<Exports of data set {self.dataset.id}: quicknii, fields, sections, outlines>"


def _ending_of(format: str) -> str:
    from atldld.errors import InvalidInputError

    if not isinstance(format, str) or format not in FIELD_ENDINGS:
        raise InvalidInputError(
            f"The format is {format!r}, but must be one of {', '.join(FIELD_ENDINGS)}."
        )
    return FIELD_ENDINGS[format]
