"""What can be served: the contract of an archive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from atldld.place.spaces import PlaneOfSection, ReferenceSpace

if TYPE_CHECKING:
    from atldld.fetch.members import Member

__all__ = ["Archive", "Record", "Tables", "View", "vocabulary"]

View = Literal["image", "expression"]
Record = Mapping[str, Any]
Tables = Mapping[str, Sequence[Record]]


class Archive(ABC):
    """What is served: records and section images, and whatever else it offers.

    Attributes
    ----------
    synthetic : bool or None
        Whether it is made up, which the page at ``/`` tells if it is known.
    makes_files : bool
        Whether it makes grids and other files when they are asked for, which is heavy work: only
        then are `grid` and `make_file` called.
    """

    synthetic: bool | None = None
    makes_files: bool = False

    @abstractmethod
    def tables(self) -> Tables:
        """Return the records by name of the model, in the shape of the Allen service's JSON.

        ``SectionDataSet`` and ``SectionImage`` are needed; further models can be queried too.
        As long as nothing changes it should be the same object, so that what was looked up in it
        is known.
        Associated records stand inside a record, such as ``alignment2d`` in a section image.
        """

    @abstractmethod
    def image(
        self,
        image_id: int,
        downsample: int,
        view: View,
        *,
        quality: int,
        region: tuple[int, int, int, int] | None,
    ) -> bytes | None:
        """Return a section image as a JPEG.

        Parameters
        ----------
        image_id : int
            The section image, one of the table ``SectionImage``.
        downsample : int
            Tier of the pyramid: sides are halved so many times, and rounded down.
        view : {"image", "expression"}
            The section itself or its expression mask.
        quality : int
            Quality of the JPEG, 0 to 100.
        region : tuple of 4 int or None
            Left, top, width and height in pixels of the tier, counted from the section's own box
            and inside of it; `None` for the whole section.

        Returns
        -------
        bytes or None
            The JPEG; `None` where the archive does not hold it.
        """

    def held_image(
        self,
        image_id: int,
        downsample: int,
        view: View,
        *,
        quality: int,
        region: tuple[int, int, int, int] | None,
    ) -> bytes | Member | None:
        """Return a JPEG that need not be made, as bytes or as a file; see `image`.

        Bytes may be kept and answered again for as long as `tables` returns the same object; a
        file, for as long as its `stamp` is the same.
        """
        return None

    def stamp(self, held: Member) -> object:
        """Return what changes when the file of an image does; `None` if nothing tells."""
        return None

    def plate(
        self, plate_id: int, downsample: int, *, annotation: bool, quality: int
    ) -> bytes | None:
        """Return the JPEG of an atlas plate, or `None` where there is none."""
        return None

    def plate_svg(self, plate_id: int) -> bytes | None:
        """Return the SVG of an atlas plate, or `None` where there is none."""
        return None

    def grid(self, dataset_id: int, kinds: Sequence[str]) -> bytes | None:
        """Return a ZIP of a data set's expression grids, or `None` where there are none.

        Parameters
        ----------
        dataset_id : int
            The section data set.
        kinds : sequence of {"energy", "density", "intensity"}
            What the ZIP holds.
        """
        return None

    def file(self, path: str) -> Member | None:
        """Return the file that is answered as it is to an address's path, or `None`."""
        return None

    def make_file(self, path: str) -> bytes | None:
        """Return the bytes of a file that is made when it is asked for, or `None`."""
        return None


def vocabulary() -> dict[str, list[dict[str, Any]]]:
    """Return the records that every archive holds: planes of section and reference spaces."""
    return {
        kind.__name__: [{"id": member.value, "name": str(member)} for member in kind]
        for kind in (PlaneOfSection, ReferenceSpace)
    }
