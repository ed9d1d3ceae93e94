"""Planes as QuickNII's anchoring vectors, and placements out of files that hold such.

QuickNII, VisuAlign, DeepSlice, ABBA and PyNutil share one JSON: for each image nine numbers
o, u, v in voxels of the atlas, o being the image's top left corner, u the way along its whole
width and v the way down its whole height. Of the 25 µm CCFv3 the axes are x from left to right,
y from posterior to anterior and z from inferior to superior, so::

    x = r / 25          y = 528 − p / 25          z = 320 − i / 25

with (p, i, r) in µm. The corner is the pixel's edge: o is at image coordinate (−½, −½), since a
pixel's centre has whole coordinates here, and o + u is at (width − ½, −½).

VisuAlign and WebWarp add markers to the planes, which bend the sections: see
`atldld.place.markers`.

The service's alignment is of the P56 reference space, built on the Nissl specimen; that it equals
CCFv3 is an approximation.

Source: Puchades et al. 2019, doi:10.1371/journal.pone.0216796 (QuickNII); the axes are checked
against planes that people placed, of data set 100048576.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.errors import AlignmentFileWarning, InvalidInputError
from atldld.place.coordinates import coordinates_of
from atldld.place.markers import MarkerDeformation
from atldld.place.placement import Placement
from atldld.place.spaces import BOX
from atldld.support.text import shown

if TYPE_CHECKING:
    from atldld.records import SectionDataSet, SectionImage

__all__ = [
    "TARGET",
    "TARGET_SHAPE",
    "Alignment",
    "AlignmentFile",
    "Anchored",
    "AtlasMade",
    "anchoring_of",
    "forward_of",
    "from_document",
    "oddities",
]

TARGET = "ABA_Mouse_CCFv3_2017_25um.cutlas"
VOXEL = 25.0
"""Side of a voxel of the target, in µm."""

TARGET_SHAPE = (BOX[2] // 25, BOX[0] // 25, BOX[1] // 25)
"""Voxels of the target along (x, y, z): 456, 528, 320."""

EXPECTED = (
    "Expected is a JSON of QuickNII, VisuAlign, DeepSlice or WebAlign: "
    '{"target": "'
    + TARGET
    + '", "slices": [{"filename": "<image id>_s<section number>.jpg", "width": …, '
    '"height": …, "anchoring": [ox, oy, oz, ux, uy, uz, vx, vy, vz]}, …]}, as '
    "`atldld export quicknii` writes it."
)

# (x, y, z, 1) of the target from (p, i, r, 1) in µm.
_TO_TARGET = np.array(
    [
        [0, 0, 1 / VOXEL, 0],
        [-1 / VOXEL, 0, 0, TARGET_SHAPE[1]],
        [0, -1 / VOXEL, 0, TARGET_SHAPE[2]],
        [0, 0, 0, 1],
    ]
)

# The coarsest tier that is looked for when a size is compared with an image's.
_TIERS = 14

NEAR_MIDLINE = 500.0
"""How far from the midline, in µm, a section's middle must lie to be on one side of the brain."""
# Of coordinates and sizes: far beyond any atlas or image, and far from overflowing.
_LARGEST = 1e7


def anchoring_of(forward: ArrayLike, width: float, height: float) -> NDArray[np.float64]:
    """Return the anchoring vectors of an image.

    Parameters
    ----------
    forward : array-like, shape (3, 3)
        ``[p, i, r] = forward @ [x, y, 1]``: full-resolution pixels → reference µm; see
        `Placement`.
    width, height : float
        What the image covers, in full-resolution pixels. At tier d that is the tier's size times
        2^d: the pyramid leaves off what does not fill a pixel.

    Returns
    -------
    numpy.ndarray, shape (9,), float64
        o, u, v in 25 µm voxels, axes (x, y, z) = (right, anterior, superior).
    """
    matrix = np.asarray(forward, dtype=np.float64)
    corner = matrix @ [-0.5, -0.5, 1]
    turn = _TO_TARGET[:3, :3]
    return np.concatenate(
        (
            turn @ corner + _TO_TARGET[:3, 3],
            turn @ matrix[:, 0] * width,
            turn @ matrix[:, 1] * height,
        )
    )


def forward_of(anchoring: ArrayLike, width: float, height: float) -> NDArray[np.float64]:
    """Return the map of an image from its anchoring vectors; the inverse of `anchoring_of`.

    Parameters
    ----------
    anchoring : array-like, shape (9,)
        o, u, v in 25 µm voxels.
    width, height : float
        What the image covers, in full-resolution pixels.

    Returns
    -------
    numpy.ndarray, shape (3, 3), float64
        ``[p, i, r] = M @ [x, y, 1]``: full-resolution pixels → reference µm.

    Raises
    ------
    InvalidInputError
        If the vectors are not nine finite numbers, or if the two sides are parallel or have no
        length.
    """
    try:
        numbers = np.asarray(anchoring, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (9,) or not np.isfinite(numbers).all():
        raise InvalidInputError("An anchoring must be nine finite numbers: o, u and v.")
    back = np.linalg.inv(_TO_TARGET)
    o, u, v = numbers.reshape(3, 3)
    if np.linalg.norm(np.cross(u, v)) <= 1e-9 * np.linalg.norm(u) * np.linalg.norm(v) or not (
        u.any() and v.any()
    ):
        raise InvalidInputError("The sides u and v of an anchoring must span a plane.")
    by_x, by_y = back[:3, :3] @ u / width, back[:3, :3] @ v / height
    corner = back[:3, :3] @ o + back[:3, 3]
    return np.column_stack((by_x, by_y, corner + (by_x + by_y) / 2))


@dataclass(frozen=True)
class Anchored:
    """One image of an alignment file.

    Attributes
    ----------
    width, height : int
        Size of the image that was anchored; 0 where the file does not tell.
    anchoring : tuple of 9 float
        o, u, v in 25 µm voxels.
    markers : tuple of 4 float each
        ``[x on the flat overlay, y, x on the image, y]`` in pixels of the image that was anchored,
        counted from its corner.
    section_number : int or None
        As the image's name has it.
    """

    width: int
    height: int
    anchoring: tuple[float, ...]
    markers: tuple[tuple[float, ...], ...] = ()
    section_number: int | None = None


class AtlasMade(msgspec.Struct, frozen=True, kw_only=True):
    """The atlas that a registration was made with, as far as the registration says.

    Attributes
    ----------
    name : str
        Such as ``"ccf_2017"``.
    resolution_um : float or None
        Side of its voxels.
    version : str or None
        What tells one annotation of that name from another: see `atldld.atlas.Atlas`.
    synthetic : bool or None
        Whether it is the demo brain's.
    """

    name: str
    resolution_um: float | None = None
    version: str | None = None
    synthetic: bool | None = None

    @classmethod
    def of(cls, told: object) -> AtlasMade | None:
        """Return what a document says, if it says it; anyone may have edited it."""
        try:
            return msgspec.convert(told, cls)
        except msgspec.ValidationError:
            return None


@dataclass(frozen=True)
class AlignmentFile:
    """A file whose planes are used in place of the service's alignment.

    Attributes
    ----------
    name : str
        Its name.
    sha256 : str
        Its hash, in hexadecimal.
    target : str
        The atlas that it names.
    aligner : str or None
        What it says of its maker, or what its form says.
    images : int
        How many section images it anchors.
    markers : int
        Markers of VisuAlign or WebWarp that are used.
    markers_ignored : int
        Such markers that are not used, since they fold their section.
    atlas : AtlasMade or None
        What a registration says of the atlas that it was made with.
    unmoved : str or None
        Whose coordinates sections have that a registration has not moved, in the words of
        `atldld.place.coordinates`; by default the target's.
    confirmed_only : bool
        Whether only sections count that people have confirmed.
    """

    name: str
    sha256: str
    target: str
    aligner: str | None
    images: int
    markers: int = 0
    markers_ignored: int = 0
    atlas: AtlasMade | None = None
    unmoved: str | None = None
    confirmed_only: bool = False

    @property
    def coordinates(self) -> str:
        """Whose coordinates sections have that it places; see `atldld.place.coordinates`."""
        return coordinates_of(self.target)

    def coordinates_of(self, *, moved: bool) -> str:
        """Return whose coordinates a section has that it places.

        Parameters
        ----------
        moved : bool
            Whether it lies elsewhere than at the start of a registration; in files of other kinds
            all do.
        """
        return self.coordinates if moved or self.unmoved is None else self.unmoved

    def describe(self) -> dict[str, Any]:
        """Return the file's entry in ``metadata.json``."""
        described = {
            "file": self.name,
            "sha256": self.sha256,
            "target": self.target,
            "aligner": self.aligner,
            "images": self.images,
            "markers": self.markers,
            "markers_ignored": self.markers_ignored,
            "coordinates": self.coordinates,
        }
        if self.atlas is not None:
            described["atlas"] = msgspec.to_builtins(self.atlas)
        if self.unmoved is not None:
            described["coordinates_of_unmoved"] = self.unmoved
        if self.confirmed_only:
            described["confirmed_only"] = True
        return described

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> AlignmentFile:
        """Return the file that an entry made by `describe` stands for."""
        aligner, unmoved = described.get("aligner"), described.get("coordinates_of_unmoved")
        images, markers, ignored = (
            found if isinstance(found := described.get(name), int) else 0
            for name in ("images", "markers", "markers_ignored")
        )
        return cls(
            str(described.get("file")),
            str(described.get("sha256")),
            str(described.get("target")),
            aligner if isinstance(aligner, str) else None,
            images,
            markers,
            ignored,
            AtlasMade.of(described.get("atlas")),
            unmoved if isinstance(unmoved, str) else None,
            described.get("confirmed_only") is True,
        )


@dataclass(frozen=True)
class Alignment:
    """The planes of an alignment file.

    Attributes
    ----------
    file : AlignmentFile
        The file.
    anchored : mapping of int to Anchored
        By id of the section image.
    numbered : mapping of int to mapping of int to Anchored
        Images whose names begin with the id of their data set: by that, and by section number.
    """

    file: AlignmentFile
    anchored: Mapping[int, Anchored]
    numbered: Mapping[int, Mapping[int, Anchored]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.file.name

    def placements(self, record: SectionDataSet) -> dict[int, Placement]:
        """Return the placements of a data set's images that the file anchors, by image id.

        The way to the reference is the plane's own. The way back is its inverse along the
        direction in which the data set's sections follow one another, the volume's third axis as
        the service stores it: on the plane itself the fractional section number is the section's
        own, and it grows by 1 with each section thickness along that axis. Markers make the
        placement curved.

        Parameters
        ----------
        record : SectionDataSet
            With its images.

        Raises
        ------
        InvalidInputError
            If the file anchors images of another data set or of another shape, or if a plane cannot
            be inverted.
        AlignmentMissingError
            If the data set has no ``alignment3d`` or no section thickness.
        """
        known = {image.id: image for image in record.images}
        found = self._by_image(record)
        strange = sorted(set(found) - set(known))
        if strange:
            raise InvalidInputError(
                f"{self.name} anchors {len(strange)} images that section data set {record.id} "
                f"does not have, such as {strange[0]}.",
                dataset_id=record.id,
                hint="File names must begin with the id of a section image of this data set, or "
                f"with {record.id}_s<section number>.",
            )
        left = [i for i, image in known.items() if i not in found and not image.failed]
        if left:
            warnings.warn(
                f"{self.name} anchors {len(found)} of the {len(known)} images of section "
                f"data set {record.id}; the service's alignment is kept for the others, such as "
                f"{left[0]}.",
                AlignmentFileWarning,
                stacklevel=2,
            )
        alignment3d, thickness = record.check_alignment()
        step = alignment3d.to_reference[:, 2] * thickness
        return {
            image_id: self._place(known[image_id], anchored, step)
            for image_id, anchored in found.items()
        }

    def _by_image(self, record: SectionDataSet) -> dict[int, Anchored]:
        """Return what is anchored by image id, where names give the data set and a number, too."""
        found: dict[int, Anchored] = {}
        numbered: dict[int, Anchored] = dict(self.numbered.get(record.id, {}))
        for image_id, anchored in self.anchored.items():
            if image_id == record.id and anchored.section_number is not None:
                numbered[anchored.section_number] = anchored
            else:
                found[image_id] = anchored
        if others := sorted(set(self.numbered) - {record.id}):
            raise InvalidInputError(
                f"{self.name} anchors several images named {others[0]}, which is not section data "
                f"set {record.id}.",
                dataset_id=record.id,
                hint="File names must begin with the id of a section image of this data set, or "
                f"with {record.id}_s<section number>.",
            )
        for number, anchored in numbered.items():
            those = [image for image in record.images if image.section_number == number]
            sound = [image for image in those if not image.failed] or those
            if len(sound) != 1:
                raise InvalidInputError(
                    f"{self.name} anchors section {number}, of which section data set {record.id} "
                    f"has {len(sound) or 'no'} images.",
                    dataset_id=record.id,
                    hint="Name the image by its own id instead of the data set's.",
                )
            if sound[0].id in found:
                raise InvalidInputError(
                    f"{self.name} anchors image {sound[0].id} more than once: by its id, and as "
                    f"section {number} of data set {record.id}."
                )
            found[sound[0].id] = anchored
        return found

    def _place(
        self, image: SectionImage, anchored: Anchored, step: NDArray[np.float64]
    ) -> Placement:
        width, height = self._extent(image, anchored)
        try:
            forward = forward_of(anchored.anchoring, width, height)
        except InvalidInputError as error:
            raise InvalidInputError(
                f"{self.name} gives image {image.id} an anchoring that cannot be used. "
                f"{error.message}",
                image_id=image.id,
            ) from None
        placement = Placement.from_plane(forward, step, image.section_number)
        if placement is None:
            raise InvalidInputError(
                f"{self.name} gives image {image.id} a plane that runs along the direction in "
                "which the sections follow one another.",
                image_id=image.id,
                hint="Check that the image was anchored in its own plane of section.",
            )
        if not anchored.markers:
            return placement
        # they were triangulated in the picture's own pixels, and are counted from its corner
        bent = MarkerDeformation.of(anchored.markers, anchored.width, anchored.height)
        by = width / anchored.width, height / anchored.height
        return replace(placement, deformation=bent.scaled(by, -0.5))

    def _extent(self, image: SectionImage, anchored: Anchored) -> tuple[int, int]:
        """Return what the anchored image covers, in full-resolution pixels."""
        width, height = anchored.width, anchored.height
        if width < 1 or height < 1:
            return image.width, image.height
        for tier in range(_TIERS):
            if (width, height) == image.size(tier):
                return width << tier, height << tier
        # Not a tier: the whole image, resized by someone, who may have rounded either side.
        if abs(image.height * width / image.width - height) > 1.5 + 0.01 * height:
            raise InvalidInputError(
                f"{self.name} anchors an image of {width} × {height} pixels as {image.id}, which "
                f"has {image.width} × {image.height}: that is another shape.",
                image_id=image.id,
                hint="Anchor the whole section image, neither cropped nor turned.",
            )
        return image.width, image.height


def oddities(
    name: str, record: SectionDataSet, placements: Mapping[int, Placement]
) -> tuple[str, ...]:
    """Return sentences about planes that show a section mirrored or turned over.

    The service's own alignment of the data set is the reference: an image and the way on to the
    next section are right-handed in the brain or left-handed, and a plane that makes the other
    of it mirrors the picture. Sections that lie nearer to the mirror image of their place, and
    sets whose order is reversed, are mirrored too. None of that is refused, as sets that were
    mirrored on purpose are about.

    Parameters
    ----------
    name : str
        Who places them: the subject of the sentences.
    record : SectionDataSet
        With its images.
    placements : mapping of int to Placement
        Their placements, by image id; see `Alignment.placements`.
    """
    alignment3d, thickness = record.check_alignment()
    step = alignment3d.to_reference[:, 2] * thickness
    images = {image.id: image for image in record.images if image.id in placements}
    own = {
        image.id: Placement.of(record, image).forward
        for image in record.images
        if image.alignment2d is not None
    }
    # of images without an alignment2d: as most others of the data set, or of all data sets
    hands = [_hand(forward, step) for forward in own.values()]
    usual = np.sign(sum(hands)) or np.sign(np.linalg.det(alignment3d.to_reference[:, :3]))
    in_reverse = _reversed(images.values(), placements, step)
    over = {
        image_id: _on_the_other_side(placements[image_id].forward, own[image_id], image)
        for image_id, image in images.items()
        if image_id in own
    }
    known_sides = {side for side in over.values() if side is not None}
    if in_reverse and known_sides == {True}:
        # the set as a whole: those about the midline, which by themselves have no side, too
        over = dict.fromkeys(images, True)
    mirrored, turned = [], []
    for image_id, image in images.items():
        forward, known = placements[image_id].forward, own.get(image_id)
        expected = usual if known is None else _hand(known, step)
        if _hand(forward, step) != expected or over.get(image_id):
            mirrored.append(image.section_number)
        elif known is not None and (forward[:, :2] * known[:, :2]).sum() < 0:
            turned.append(image.section_number)
    found = []
    if mirrored:
        found.append(
            f"{name} places {_sections(mirrored, len(images))} as mirror images of what "
            "the service's alignment has: their pictures are mirrored or lie in the other "
            "hemisphere. If that is not meant, give the planes as they were before mirroring."
        )
    if turned:
        found.append(
            f"{name} places {_sections(turned, len(images))} turned over, by more than "
            "90°, against the service's alignment."
        )
    if in_reverse and len(mirrored) < len(images):
        found.append(
            f"{name} places the sections in the reverse of the order that the service's "
            "alignment has, as a set that is mirrored as a whole does."
        )
    return tuple(found)


def _hand(forward: NDArray[np.float64], step: NDArray[np.float64]) -> float:
    """Return 1 if (x, y, next section) is right-handed in (p, i, r), −1 if it is left-handed."""
    return float(np.sign(np.linalg.det(np.column_stack((forward[:, :2], step)))))


def _on_the_other_side(
    forward: NDArray[np.float64], known: NDArray[np.float64], image: SectionImage
) -> bool | None:
    """Whether a section lies nearer to the mirror image of its place than to that place.

    `None` for what lies about the midline, where there is no telling.
    """
    middle = np.array([image.width / 2, image.height / 2, 1])
    here, there = forward @ middle, known @ middle
    across = there[2] - BOX[2] / 2
    return bool((here[2] - BOX[2] / 2) * across < 0) if abs(across) > NEAR_MIDLINE else None


def _reversed(
    images: Iterable[SectionImage],
    placements: Mapping[int, Placement],
    step: NDArray[np.float64],
) -> bool:
    """Whether section numbers grow against the way in which the service has the sections."""
    chosen = list(images)
    numbers = np.array([image.section_number for image in chosen], dtype=np.float64)
    if not numbers.size or np.ptp(numbers) == 0:
        return False
    length = float(np.linalg.norm(step))
    depths = [
        placements[image.id].forward @ [image.width / 2, image.height / 2, 1] @ step / length
        for image in chosen
    ]
    # a refined set may lie a little otherwise, but each number still counts about a thickness
    return bool(np.polyfit(numbers - numbers.mean(), depths, 1)[0] < -length / 2)


def _sections(numbers: list[int], of: int) -> str:
    listed = ", ".join(map(str, numbers))
    return f"{len(numbers)} of its {of} sections ({listed})"


def from_document(path: Path, content: bytes, document: object) -> Alignment:
    """Return the alignment that a JSON of QuickNII, VisuAlign, DeepSlice or WebAlign holds.

    Images are known by their names, which must begin with the id of a section image, such as
    ``69177654_s070.jpg`` or ``69177654.png``, or with that of the data set and a section number.
    Markers that fold their section are not used, only its plane: an
    `~atldld.errors.AlignmentFileWarning` names the section.

    Parameters
    ----------
    path : pathlib.Path
        Its name, for messages.
    content : bytes
        The file.
    document : object
        What its JSON says.

    Returns
    -------
    Alignment

    Raises
    ------
    InvalidInputError
        If the file is of another kind or for another atlas, or names images that are not section
        images, or holds markers that are none.
    """
    # WebAlign has the same as QuickNII under other names.
    key = "anchoring"
    told: Mapping[str, Any] = document if isinstance(document, dict) else {}
    slices = told.get("slices")
    if slices is None:
        slices, key = told.get("sections"), "ouv"
    if not isinstance(slices, list) or not all(isinstance(image, dict) for image in slices):
        raise InvalidInputError(f"{path} is no alignment of images.", hint=EXPECTED)
    target = _check_target(path, told)
    by_id: dict[int, list[Anchored]] = {}
    ignored = 0
    for image in slices:
        if not image.get(key):
            continue  # an image that nobody has anchored yet
        image_id, number = _named(path, image.get("filename"))
        anchored = _anchored(path, image_id, number, image, key)
        if anchored.markers and (why := _unusable(anchored)):
            section = "" if number is None else f" (section {number})"
            warnings.warn(
                f"{path.name} bends image {image_id}{section} by {len(anchored.markers)} markers "
                f"that cannot be used, so only its plane is. {why}",
                AlignmentFileWarning,
                stacklevel=2,
            )
            ignored += len(anchored.markers)
            anchored = replace(anchored, markers=())
        by_id.setdefault(image_id, []).append(anchored)
    if not by_id:
        raise InvalidInputError(f"{path} anchors no image.", hint=EXPECTED)
    images: dict[int, Anchored] = {}
    numbered: dict[int, dict[int, Anchored]] = {}
    for image_id, those in by_id.items():
        numbers = {one.section_number for one in those}
        if len(those) == 1:
            images[image_id] = those[0]
        elif len(numbers) == len(those) and None not in numbers:
            # WebAlign's names may begin with the id of the data set
            numbered[image_id] = {one.section_number or 0: one for one in those}
        else:
            raise InvalidInputError(f"{path} anchors image {image_id} more than once.")
    every = [one for those in by_id.values() for one in those]
    used = sum(len(one.markers) for one in every)
    file = AlignmentFile(
        shown(path.name),
        sha256(content).hexdigest(),
        target,
        _maker(told, has_markers=used + ignored > 0),
        len(every),
        used,
        ignored,
    )
    return Alignment(file, images, numbered)


def _maker(told: Mapping[str, Any], *, has_markers: bool) -> str | None:
    """Return which application wrote a file, as it says itself or by its form."""
    aligner = told.get("aligner")
    if "slices" not in told:
        bender = "WebWarp"
        said = aligner if isinstance(aligner, str) else "WebAlign"
    else:
        bender = "VisuAlign"
        said = aligner if isinstance(aligner, str) else ""
    if has_markers and bender not in said:
        return f"{said}, markers of {bender}" if said else bender
    return said or None


def _unusable(anchored: Anchored) -> str | None:
    """Return why an image's markers cannot be used, if so."""
    if anchored.width < 1 or anchored.height < 1:
        return "The file does not tell the size of the image whose pixels they are in."
    try:
        MarkerDeformation.of(anchored.markers, anchored.width, anchored.height)
    except InvalidInputError as error:
        return f"{error.message} {error.hint or ''}".rstrip()
    return None


def _check_target(path: Path, document: Mapping[str, Any]) -> str:
    """Return the atlas that a file is for, or refuse one whose voxels are others."""
    target = document.get("target") or document.get("atlas")
    shape = document.get("target-resolution")
    fits = isinstance(target, str) and re.search(
        r"mouse.*ccf.?v?3.*(?<!\d)25 ?um", target, re.IGNORECASE
    )
    if not fits or shape not in (None, list(TARGET_SHAPE)):
        told = _told(target) if target else "no atlas"
        if isinstance(shape, list) and len(shape) == 3:
            told += f" of {' × '.join(map(_told, shape))} voxels"
        raise InvalidInputError(
            f"{path} is for {told}, but must be for {TARGET} of "
            f"{' × '.join(map(str, TARGET_SHAPE))} voxels.",
            hint="Anchor the images to the 25 µm CCFv3 of the adult mouse.",
        )
    return str(target)


def _named(path: Path, name: object) -> tuple[int, int | None]:
    """Return the id that an image's name begins with, and the section number in it, if any."""
    found = (
        re.match(r"([0-9]{1,18})(?!\d)(?:_s([0-9]{1,9})(?!\d))?", re.split(r"[/\\]", name)[-1])
        if isinstance(name, str)
        else None
    )
    if found is None:
        raise InvalidInputError(
            f"{path} anchors an image named {_told(name)}, which does not begin with the id of a "
            "section image.",
            hint="Name images as `atldld export quicknii` does: <image id>_s<section number>.jpg.",
        )
    return int(found[1]), None if found[2] is None else int(found[2])


def _anchored(
    path: Path, image_id: int, number: int | None, image: Mapping[str, Any], key: str
) -> Anchored:
    numbers = image[key]
    if (
        not isinstance(numbers, list)
        or len(numbers) != 9
        or not all(_is_number(n) for n in numbers)
    ):
        raise InvalidInputError(
            f"{path} gives image {image_id} an anchoring that is not nine numbers.", hint=EXPECTED
        )
    sizes = [image.get("width"), image.get("height")]
    # DeepSlice writes −999 where it does not know the size.
    known = all(_is_number(size) and size >= 1 for size in sizes)
    width, height = (int(size) if known else 0 for size in sizes)  # type: ignore[arg-type]
    markers = image.get("markers") or []
    if not isinstance(markers, list) or not all(
        isinstance(marker, list) and len(marker) == 4 and all(map(_is_number, marker))
        for marker in markers
    ):
        raise InvalidInputError(
            f"{path} gives image {image_id} markers that are not four numbers each.",
            hint="A marker is [x on the overlay, y, x on the image, y], in the image's pixels.",
        )
    return Anchored(
        width,
        height,
        tuple(float(number) for number in numbers),
        tuple(tuple(float(number) for number in marker) for marker in markers),
        number,
    )


def _is_number(value: object) -> TypeGuard[float]:
    """Whether this is a number that a coordinate or a size may have, in voxels or pixels."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST


def _told(value: object) -> str:
    """Return what a file says, short enough for a sentence."""
    if isinstance(value, str):
        return f"{value!r}" if len(value) <= 60 else f"{value[:60]!r}…"
    return str(value)[:20] if _is_number(value) else f"a {type(value).__name__}"
