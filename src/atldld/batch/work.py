"""What a batch makes of each data set: registered sections, a volume, or a registration.

Small frozen values, which a worker on another machine can be sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from atldld.batch.alignments import Alignments
from atldld.errors import InvalidInputError, MissingFileError
from atldld.fetch.session import Session
from atldld.place.sections import PlacedDataSet, PlacedSection
from atldld.place.spaces import Plane
from atldld.place.tiers import tier_of
from atldld.sections.download import PictureFormat, download_dataset
from atldld.sections.folder import files_of
from atldld.sections.metadata import METADATA, is_plain
from atldld.sections.open import place_dataset
from atldld.sections.register import Recipe
from atldld.support.documents import DocumentError, parse_json
from atldld.support.files import whole_file
from atldld.support.provenance import version
from atldld.warp.stain import JET, Scale

if TYPE_CHECKING:
    from atldld.atlas import Atlas
    from atldld.refine import Step
    from atldld.volume import Channel, Fill, VolumeRecipe

__all__ = ["AtlasChoice", "Download", "Made", "Registrations", "Volumes", "Work"]


@dataclass(frozen=True, slots=True)
class Made:
    """What has been made of a data set.

    Attributes
    ----------
    sections : int
        Sections that it shows.
    image_bytes : int
        Bytes of the service's images that it was made from, fetched or in the cache.
    bytes : int
        Bytes of what was made.
    missing : dict
        What could not be fetched, by image id: the reason.
    """

    sections: int
    image_bytes: int
    bytes: int
    missing: Mapping[str, str]


class Work(Protocol):
    """What to make of each data set, in a folder whose ``metadata.json`` vouches for it."""

    @property
    def resolution(self) -> float:
        """Side of an output pixel or voxel, in µm."""

    @property
    def tier(self) -> int | None:
        """The tier of the images; `None` for the one that fits the resolution."""

    def tier_of(self, dataset: PlacedDataSet, section: PlacedSection) -> int:
        """Return the tier that is read of a section."""

    @property
    def views(self) -> int:
        """How many pictures of each section are fetched: the image, its expression mask."""

    def check(self) -> None:
        """Check the options before anything is requested."""

    def describe(self) -> dict[str, Any]:
        """Return the options that decide the result: batches with equal ones may share a folder."""

    def make(
        self,
        dataset_id: int,
        folder: Path,
        session: Session,
        *,
        threads: int | None,
        force: bool,
        command_line: str | None,
    ) -> Made:
        """Make the result of one data set, or what an earlier run has left of it."""

    def is_whole(self, folder: Path) -> bool:
        """Whether the whole result is there; looks at the folder, not into the pictures."""

    def output_bytes(self, plane: Plane, images: int) -> int | None:
        """Return about how many bytes the result will take, `None` if that is unknown."""


PNG_BYTES_PER_PIXEL = 1.4
"""Of a registered picture. The one genuine image at hand (section image 69177654), laid out on its
whole sagittal grid of 25 µm: 236,092 bytes for 528 × 320 pixels."""


@dataclass(frozen=True)
class Download:
    """Registered sections: what `atldld.sections.download.download_dataset` writes.

    Attributes
    ----------
    recipe : Recipe
        How the sections are shown.
    fields : bool
        Write the displacement fields too.
    picture_format : {"png", "tiff"}
        Of pictures and masks.
    alignments : Alignments or None
        What is used in place of the service's alignments, if anything.
    """

    recipe: Recipe = field(default_factory=Recipe)
    fields: bool = False
    picture_format: PictureFormat = "png"
    alignments: Alignments | None = None

    @property
    def resolution(self) -> float:
        """Side of an output pixel, in µm."""
        return self.recipe.resolution

    @property
    def tier(self) -> int | None:
        """The tier of the images; `None` for the one that fits the resolution."""
        return None if self.recipe.downsample == "auto" else self.recipe.downsample

    def tier_of(self, dataset: PlacedDataSet, section: PlacedSection) -> int:
        """Return the tier that is read of a section."""
        return self.recipe.plan(section).downsample

    @property
    def views(self) -> int:
        """How many pictures of each section are fetched."""
        return 2 if self.recipe.expression else 1

    def check(self) -> None:
        """Check the options."""
        self.recipe.grid(Plane.CORONAL)
        if self.alignments is not None:
            self.alignments.check()

    def describe(self) -> dict[str, Any]:
        """Return the options that decide the result."""
        return {"makes": "sections", **asdict(self.recipe), **_version()} | {
            "layout": self.recipe.used_layout,
            "fields": self.fields,
            "format": self.picture_format,
            **_named(self.alignments),
        }

    def make(
        self,
        dataset_id: int,
        folder: Path,
        session: Session,
        *,
        threads: int | None,
        force: bool,
        command_line: str | None,
    ) -> Made:
        """Write the sections; see `download_dataset`."""
        summary = download_dataset(
            dataset_id,
            folder,
            self.recipe,
            session=session,
            fields=self.fields,
            picture_format=self.picture_format,
            jobs=threads,
            force=force,
            alignment=None if self.alignments is None else self.alignments.read_from(dataset_id),
            command_line=command_line,
        )
        metadata = _metadata_in(folder)
        sources = (
            entry[name]["bytes"]
            for entry in metadata["per_image"].values()
            for name in ("source", "expression_source")
            if name in entry
        )
        return Made(
            summary.written + summary.kept,
            sum(sources),
            _size_of([folder / METADATA, *self._files(folder, metadata)]),
            summary.failed,
        )

    def is_whole(self, folder: Path) -> bool:
        """Whether the whole result is there."""
        metadata = _metadata_in(folder)
        return metadata.get("complete") is True and all(
            path.exists() for path in self._files(folder, metadata)
        )

    def output_bytes(self, plane: Plane, images: int) -> int | None:
        """Return about how many bytes the pictures will take: PNG, without fields."""
        if self.picture_format != "png" or self.fields:
            return None
        rows, columns = self.recipe.grid(plane).shape
        return round(images * self.views * rows * columns * PNG_BYTES_PER_PIXEL)

    def _files(self, folder: Path, metadata: Mapping[str, Any]) -> Iterator[Path]:
        for hashes in files_of(metadata).values():
            for name in hashes:
                yield folder / name


@dataclass(frozen=True)
class Volumes:
    """A volume of each data set, with its coverage: ``<id>.nii.gz`` and ``<id>_coverage.nii.gz``.

    The arguments are those of `atldld.volume.build.build_volume`.

    Attributes
    ----------
    resolution : float
        Side of a voxel, in µm.
    channel, fill : str
        What voxels show, and what is put between sections.
    thickness : float, optional
        How thick sections are taken to be, in µm.
    ending : str
        Says the format; see `atldld.volume.Volume.save`.
    scale : Scale
        The colours of the expression masks.
    alignments : Alignments or None
        What is used in place of the service's alignments, if anything.
    """

    resolution: float = 25
    channel: Channel = "image"
    fill: Fill = "none"
    thickness: float | None = None
    ending: str = ".nii.gz"
    scale: Scale = JET
    alignments: Alignments | None = None

    @property
    def tier(self) -> int | None:
        """`None`: the tier that fits the resolution."""
        return None

    def tier_of(self, dataset: PlacedDataSet, section: PlacedSection) -> int:
        """Return the tier that is read of a section."""
        recipe = self._recipe()
        return recipe.tier_of(section, recipe.slab(dataset, section))

    @property
    def views(self) -> int:
        """1: the image or the mask."""
        return 1

    def check(self) -> None:
        """Check the options."""
        from atldld.formats import check_format

        self._recipe()
        check_format(f"volume{self.ending}")
        if self.alignments is not None:
            self.alignments.check()

    def _recipe(self) -> VolumeRecipe:
        from atldld.volume import VolumeRecipe

        return VolumeRecipe(self.resolution, self.channel, self.fill, self.thickness, self.scale)

    def describe(self) -> dict[str, Any]:
        """Return the options that decide the result."""
        chosen: dict[str, Any] = {"makes": "volumes", **asdict(self), **_version()}
        del chosen["scale"], chosen["alignments"]
        chosen |= _named(self.alignments)
        if self.channel == "expression":
            chosen["scale"] = self.scale.describe()
        return chosen

    def make(
        self,
        dataset_id: int,
        folder: Path,
        session: Session,
        *,
        threads: int | None,
        force: bool,
        command_line: str | None,
    ) -> Made:
        """Build the volume and write it, its coverage and what they were made from."""
        from atldld.formats import check_volume
        from atldld.volume import prepare_volume

        path = folder / f"{dataset_id}{self.ending}"
        # a folder with a metadata.json is a batch's own
        ours = force or bool(_metadata_in(folder))
        check_volume(path, coverage=True, force=ours)
        dataset = _placed(dataset_id, session, self.alignments)
        built = prepare_volume([(dataset, session)], self._recipe(), path, jobs=threads)
        (described,) = built.metadata["datasets"]
        document = _begun(dataset_id, command_line, self.describe()) | built.metadata
        _vouch(folder, document)
        paths = built.save(path, coverage=True, force=ours)
        document["complete"] = not described["failed"]
        document["files"] = [path.name for path in paths]
        _vouch(folder, document)
        used = [
            session.cache.find_image(
                section["image_id"], section["downsample"], expression=self.channel == "expression"
            )
            for section in described["sections"]
        ]
        return Made(
            len(described["sections"]),
            sum(image.bytes for image in used if image),
            _size_of([folder / METADATA, *paths]),
            described["failed"],
        )

    def is_whole(self, folder: Path) -> bool:
        """Whether the whole result is there."""
        return _has_all(folder)

    def output_bytes(self, plane: Plane, images: int) -> int | None:
        """Return `None`: what is empty compresses to nothing, so nobody knows."""
        return None


@dataclass(frozen=True)
class AtlasChoice:
    """Which atlas sections are compared with; the arguments of `atldld.open_atlas`.

    Attributes
    ----------
    name, resolution :
        Of an atlas that can be fetched.
    annotation, graph, template : str, optional
        Files of your own, in place of its own.
    """

    name: str = "ccf_2017"
    resolution: float | None = None
    annotation: str | None = None
    graph: str | None = None
    template: str | None = None

    @classmethod
    def of(
        cls,
        name: str,
        resolution: float | None,
        annotation: Path | None,
        graph: Path | None,
        template: str | None,
    ) -> AtlasChoice:
        """Return the choice that names and files make; workers find the files from anywhere."""
        from atldld.atlas.ccf import KINDS

        if template is not None and template not in KINDS:
            template = str(Path(template).absolute())
        own, structures = (
            None if path is None else str(path.absolute()) for path in (annotation, graph)
        )
        return cls(name, resolution, own, structures, template)

    def check(self, *, outlines: bool = False) -> None:
        """Check that it can be opened, before anything is fetched.

        Parameters
        ----------
        outlines : bool
            Whether outlines of structures are wanted.

        Raises
        ------
        InvalidInputError
            If there is no such atlas or resolution, if a file is not there, or if a template of
            one's own comes without an annotation.
        AtldldError
            If a library that is needed is not installed.
        """
        from atldld.atlas import check_atlas

        own = self.annotation is not None
        check_atlas(self.name, self.resolution, own=own, outlines=outlines)
        self.check_files()

    def check_files(self) -> None:
        """Check that files of your own are there; see `check`."""
        from atldld.atlas.ccf import KINDS

        own = self.annotation is not None
        files = [self.annotation, self.graph]
        if self.template is not None and self.template not in KINDS:
            if not own:
                raise InvalidInputError(
                    f"{self.template} is a template of your own, which goes with an annotation of "
                    f"your own; those of the atlas are {' and '.join(KINDS[1:])}.",
                    hint="Give the annotation that it belongs to as well.",
                )
            files.append(self.template)
        for file in files:
            if file is not None and not Path(file).is_file():
                raise MissingFileError(f"{file} is not there, or is no file.")

    def open(self, session: Session) -> Atlas:
        """Open it."""
        from atldld.atlas import open_atlas

        return open_atlas(
            self.resolution,
            name=self.name,
            template="average_template" if self.template is None else self.template,
            annotation=self.annotation,
            graph=self.graph,
            session=session,
        )


@dataclass(frozen=True)
class Registrations:
    """A registration of each data set: ``<id>.json``, and ``<id>.fields`` beside it.

    The arguments are those of `atldld.refine.refine`.

    Attributes
    ----------
    atlas : AtlasChoice
        What sections are compared with.
    steps : tuple of str
        What is done.
    resolution : float
        Side of a pixel, in µm, at which sections are looked at.
    most : float
        How far, in µm, a step may move any point of a section.
    few : bool
        Refine fewer than five sections as well.
    alignments : Alignments or None
        Where the sections lie at the start; by default where the service has them.
    """

    atlas: AtlasChoice = field(default_factory=AtlasChoice)
    steps: tuple[Step, ...] = ("whole", "sections", "inplane")
    resolution: float = 25
    most: float = 1500
    few: bool = False
    alignments: Alignments | None = None

    @property
    def tier(self) -> int | None:
        """`None`: the tier that fits the resolution."""
        return None

    def tier_of(self, dataset: PlacedDataSet, section: PlacedSection) -> int:
        """Return the tier that is read of a section."""
        return tier_of(section, self.resolution)

    @property
    def views(self) -> int:
        """1: the image."""
        return 1

    def check(self) -> None:
        """Check the options."""
        from atldld.refine import check_refinement

        check_refinement(self.steps, self.resolution, self.most)
        self.atlas.check()
        if self.alignments is not None:
            self.alignments.check()

    def describe(self) -> dict[str, Any]:
        """Return the options that decide the result."""
        chosen: dict[str, Any] = {"makes": "registrations", **asdict(self), **_version()}
        del chosen["alignments"]
        return chosen | _named(self.alignments)

    def make(
        self,
        dataset_id: int,
        folder: Path,
        session: Session,
        *,
        threads: int | None,
        force: bool,
        command_line: str | None,
    ) -> Made:
        """Refine the data set and write where its sections lie, and what vouches for that."""
        from atldld.place.registration import check_registration, fields_of
        from atldld.refine import refine

        path = folder / f"{dataset_id}.json"
        # a folder with a metadata.json is a batch's own
        ours = force or bool(_metadata_in(folder))
        check_registration(path, force=ours)
        dataset = _placed(dataset_id, session, self.alignments)
        dataset.check_placed()
        found = refine(
            dataset,
            self.atlas.open(session),
            session=session,
            steps=self.steps,
            resolution=self.resolution,
            most=self.most,
            few=self.few,
            jobs=threads,
        )
        failed = found.about["failed"]
        document = _begun(dataset_id, command_line, self.describe())
        document["warnings"] = [f"{type(defect).__name__}: {defect}" for defect in session.defects]
        document["coordinates"] = found.about["space"]
        _vouch(folder, document)
        found.save(path, force=ours)
        paths = [one for one in (path, fields_of(path)) if one.exists()]
        document["complete"] = not failed
        document["files"] = [one.name for one in paths]
        _vouch(folder, document)
        used = [
            session.cache.find_image(section.id, self.tier_of(dataset, section))
            for section in dataset.sections
            if str(section.id) not in failed
        ]
        return Made(
            len(found.sections) - len(failed),
            sum(image.bytes for image in used if image),
            _size_of([folder / METADATA, *paths]),
            failed,
        )

    def is_whole(self, folder: Path) -> bool:
        """Whether the whole result is there."""
        return _has_all(folder)

    def output_bytes(self, plane: Plane, images: int) -> int | None:
        """Return `None`: how much bends is not known before."""
        return None


def _named(alignments: Alignments | None) -> dict[str, Any]:
    """Return what a request says of alignments; nothing where the service's are used."""
    if alignments is None:
        return {}
    only = {"confirmed_only": True} if alignments.confirmed else {}
    return {"alignments": alignments.where, **only}


def _has_all(folder: Path) -> bool:
    """Whether all files that a folder's metadata lists are there."""
    metadata = _metadata_in(folder)
    names = metadata.get("files")
    return (
        metadata.get("complete") is True
        and isinstance(names, list)
        and all(is_plain(name) and (folder / name).exists() for name in names)
    )


def _version() -> dict[str, str]:

    return {"version": version()}


def _metadata_in(folder: Path) -> dict[str, Any]:
    """Return what vouches for a folder, or nothing."""
    try:
        found = parse_json((folder / METADATA).read_bytes())
    except (OSError, DocumentError):
        return {}
    return found if isinstance(found, dict) else {}


def _placed(dataset_id: int, session: Session, alignments: Alignments | None) -> PlacedDataSet:
    """Return a data set as the alignments place it that the batch was given, if any."""
    alignment = None if alignments is None else alignments.read_from(dataset_id)
    return place_dataset(dataset_id, session, alignment=alignment)


def _begun(dataset_id: int, command_line: str | None, request: dict[str, Any]) -> dict[str, Any]:
    """Return what a folder's metadata say before its files are there."""
    return {
        "dataset_id": str(dataset_id),
        "complete": False,
        "command_line": command_line,
        "request": request,
        "files": [],
    }


def _vouch(folder: Path, document: Mapping[str, Any]) -> None:
    """Write what says whose a folder's files are, and whether all of them are there."""
    with whole_file(folder / METADATA, force=True) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _size_of(paths: list[Path]) -> int:
    """Return the bytes of files, and of all files in folders."""
    files = (file for path in paths for file in (path.rglob("*") if path.is_dir() else (path,)))
    return sum(file.stat().st_size for file in files if file.is_file())
