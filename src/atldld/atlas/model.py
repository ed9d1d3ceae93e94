"""An atlas: which structure each voxel of the reference space is in, and how tissue looks.

Reference spaces 9 and 10 (P56) are one space, and both use the same annotation without a flip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.atlas.ccf import volume_file
from atldld.atlas.labels import Labels
from atldld.atlas.structures import Structure, StructureGraph
from atldld.errors import AtldldError, InvalidInputError, OtherAtlasWarning, UnsupportedPlaneError
from atldld.place.anchoring import AtlasMade
from atldld.place.coordinates import is_ccf
from atldld.place.spaces import PLACED_SPACES, ReferenceSpace, check_points
from atldld.support.html import card, synthetic_note
from atldld.support.processes import cached_property
from atldld.support.text import shown

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.place.anchoring import AlignmentFile
    from atldld.records import SectionDataSet

__all__ = [
    "BRAINGLOBE",
    "CCF_2017",
    "Atlas",
    "Given",
    "Volumes",
    "check_space",
]

CCF_2017 = "ccf_2017"
BRAINGLOBE = "brainglobe:"


@dataclass(frozen=True, slots=True)
class Volumes:
    """The atlas's volumes at one resolution, as a session has them."""

    session: Session
    resolution: int
    sha256: str

    def __call__(self, kind: str) -> NDArray[Any]:
        """Return the volume of a kind, shape (P, I, R), fetching it if need be."""
        return volume_file(kind, self.resolution).open(self.session)[0]

    def has_mapped(self, array: NDArray[Any]) -> bool:
        """Whether an array is the annotation in the cache, all of it."""
        return (
            isinstance(array, np.memmap)
            # its name holds the hash of what it was unpacked from
            and self.sha256[:16] in Path(str(array.filename)).name
            and array.shape == volume_file("annotation", self.resolution).shape
        )

    def annotation(self) -> NDArray[Any]:
        """Return the annotation again, in another process."""
        labels, _, held = volume_file("annotation", self.resolution).open(self.session)
        if held.sha256 != self.sha256:
            raise AtldldError(
                f"The annotation in the cache at {self.session.archive_cache.root} is another one "
                "than that of the atlas that was sent here.",
                url=held.url,
                hint="Let both processes use the same service, and caches that were filled by it.",
            )
        return labels


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """A template that is at hand, or none."""

    grey: NDArray[Any] | None = None

    def __call__(self, _: str) -> NDArray[Any] | None:
        """Return the template, shape (P, I, R), if there is one."""
        return self.grey


@dataclass(frozen=True, eq=False)
class Atlas:
    """An annotation over the reference space, its structures and its template.

    Attributes
    ----------
    name : str
        Such as ``"ccf_2017"``.
    resolution : float
        Side of a voxel, in µm; voxel k spans [kR, (k + 1)R).
    annotation : numpy.ndarray, shape (P, I, R), uint32 or int64
        The id of the structure in each voxel, 0 outside the brain; int64 where some are negative
        or beyond 2³². Read-only; mapped into memory where it comes from the cache.
    graph : StructureGraph
        The structures.
    citation : str
        What to cite.
    source : str
        The address or the file that the annotation comes from.
    synthetic : bool
        Whether it is the demo brain's.
    spaces : tuple of int
        Ids of the reference spaces that it is good for.
    load : callable
        Returns the template; see `template`.
    template_kind : str
        Which template that is.
    version : str or None
        What tells this annotation from another one of the same name and resolution, where that is
        known: ``"sha256:…"`` of its file, or the version that BrainGlobe gives it.
    """

    name: str
    resolution: float
    annotation: Labels
    graph: StructureGraph
    citation: str
    source: str
    synthetic: bool = False
    spaces: tuple[int, ...] = PLACED_SPACES
    load: Callable[[str], NDArray[Any] | None] = field(default_factory=Given, repr=False)
    template_kind: str = "average_template"
    version: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        # What the cache holds is not sent along: it is mapped again, or fetched, where it arrives.
        state = {name: value for name, value in vars(self).items() if name != "template"}
        if isinstance(self.load, Volumes) and self.load.has_mapped(self.annotation):
            state["annotation"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["annotation"] is None:
            state["annotation"] = state["load"].annotation()
        state["annotation"].flags.writeable = False
        vars(self).update(state)

    @cached_property
    def template(self) -> NDArray[Any] | None:
        """Grey values of the tissue, (P, I, R), fetched when first used; `None` if there are none.

        Raises
        ------
        OfflineError, ServiceError, CacheError
            If the template is not in the cache and cannot be fetched.
        """
        return self.load(self.template_kind)

    @cached_property
    def unknown_ids(self) -> tuple[int, ...]:
        """Ids in the annotation that the graph lacks; reads all of the annotation."""
        # slab by slab along the slowest axis: the whole would be read into memory at once
        volume = self.annotation if self.annotation.flags.c_contiguous else self.annotation.T
        slabs = [np.unique(volume[start : start + 16]) for start in range(0, len(volume), 16)]
        return self.graph.unknown(np.concatenate(slabs))

    def describe(self) -> dict[str, Any]:
        """Return what files say of the atlas that they were made with."""
        return {
            "name": self.name,
            "resolution_um": self.resolution,
            "source": self.source,
            "version": self.version,
            "citation": self.citation,
            "synthetic": self.synthetic,
        }

    def differs_from(self, file: AlignmentFile | None) -> str | None:
        """Return why sections that a file places do not lie in this atlas, if so, as a sentence.

        Parameters
        ----------
        file : AlignmentFile or None
            What places them: a registration names the atlas that it was made with. Of CCFv3 there
            are several sources and resolutions, which are one. Without a file it is the service's
            alignment, which is of no atlas.
        """
        if file is None:
            return None
        made = file.atlas or AtlasMade(name=file.target)
        if made.name == "unknown":
            return f"{file.name} does not say which atlas its sections were laid on."
        version = self.version
        if None not in (made.version, version) and made.version == version:
            return None
        same = made.resolution_um == self.resolution and None not in (made.version, version)
        if made.name != self.name and not (is_ccf(made.name) and is_ccf(self.name)):
            differs = f"with the atlas {shown(made.name)}, but the atlas here is {self.name}"
        elif made.synthetic is not None and made.synthetic != self.synthetic:
            kinds = {True: "the SYNTHETIC demo brain's", False: "the genuine one"}
            differs = (
                f"with an atlas {shown(made.name)} that is {kinds[made.synthetic]}, but the one "
                f"here is {kinds[self.synthetic]}"
            )
        elif made.name == self.name and same:
            differs = (
                f"with another version of the atlas {shown(made.name)} ({shown(made.version)[:19]} "
                f"there, {shown(version)[:19]} here)"
            )
        else:
            return None
        return (
            f"{file.name} was made {differs}: structures may lie elsewhere than its sections "
            "have them."
        )

    def compare_alignment(self, file: AlignmentFile | None, session: Session) -> None:
        """Warn if sections that a file places do not lie in this atlas; see `differs_from`.

        Parameters
        ----------
        file : AlignmentFile or None
            What places them.
        session : Session
            Keeps the warning; see `Session.report`.

        Raises
        ------
        InvalidInputError
            If they do not, and strictness was asked for.
        """
        if why := self.differs_from(file):
            session.report(OtherAtlasWarning(why))

    def structure_at(self, point: ArrayLike) -> Structure | None:
        """Return the structure in which a point of the brain lies; `None` outside all of them.

        Parameters
        ----------
        point : array-like, shape (3,)
            (p, i, r) in µm of the reference space.

        Raises
        ------
        InvalidInputError
            If this is no single point, or its coordinates are not finite.
        NotFoundError
            If the annotation has an id there that the structure graph lacks.

        Examples
        --------
        >>> import atldld
        >>> atlas = atldld.open_atlas(100)
        >>> atlas.structure_at((8050, 2850, 3350)).acronym
        'HPFn'
        """
        pir = check_points(point, 3, "(p, i, r) in µm of the reference space")
        if pir.shape != (3,):
            raise InvalidInputError(
                f"{pir.size // 3} points are given, but one structure is at one point (p, i, r).",
                hint="`atldld.image_to_atlas` looks up many pixels at once.",
            )
        voxel = np.floor(pir / self.resolution).astype(np.int64)
        if (voxel < 0).any() or (voxel >= self.annotation.shape).any():
            return None
        label = int(self.annotation[tuple(voxel)])
        return self.graph[label] if label else None

    def check_dataset(self, record: SectionDataSet) -> None:
        """Refuse a data set of another brain than the atlas's; see `check_space`."""
        check_space(record, self.name, self.spaces)

    def _repr_html_(self) -> str:
        sizes = " × ".join(map(str, self.annotation.shape))
        return card(
            f"Atlas {self.name}",
            {
                "voxels": f"{sizes} (p × i × r) of {self.resolution:g} µm",
                "structures": len(self.graph),
                "from": self.source,
                "to cite": self.citation,
            },
            note=synthetic_note(self.synthetic),
            hint=".structure_at((p, i, r))   .graph.find('DG')   .graph.lineage('DG')",
        )

    def __repr__(self) -> str:
        made_up = ", SYNTHETIC" if self.synthetic else ""
        return f"<Atlas {self.name}, {self.resolution:g} µm, {len(self.graph)} structures{made_up}>"


def check_space(
    record: SectionDataSet, atlas: str = CCF_2017, spaces: tuple[int, ...] = PLACED_SPACES
) -> None:
    """Refuse a data set of another brain than an atlas's.

    Raises
    ------
    UnsupportedPlaneError
        If the data set's reference space is not one of the atlas's.
    """
    space = record.reference_space_id
    if space in spaces:
        return
    raise UnsupportedPlaneError(
        f"The atlas {atlas} is of the adult brain (P56, reference spaces "
        f"{' and '.join(map(str, spaces))}), but data set {record.id} is in "
        + (
            "no reference space."
            if space is None
            else f"reference space {space} ({ReferenceSpace.name_of(space)}): its structures have "
            "other places and shapes there."
        ),
        dataset_id=record.id,
    )
