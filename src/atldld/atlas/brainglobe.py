"""Atlases of BrainGlobe, through brainglobe-atlasapi (the extra ``brainglobe``).

BrainGlobe fetches and keeps them by itself, in its own folder. The axes are turned to (p, i, r) by
the atlas's own metadata. BrainGlobe's letters say where each axis starts, so this package's axes
are its ``"asl"``; its usual ``"asr"`` counts the last axis from the right.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.atlas.labels import as_labels
from atldld.atlas.model import BRAINGLOBE, Atlas
from atldld.atlas.structures import StructureGraph
from atldld.errors import InvalidInputError, OfflineError, ServiceError
from atldld.formats.common import need
from atldld.place.spaces import BOX

if TYPE_CHECKING:
    from atldld.fetch.session import Session

__all__ = ["from_brainglobe", "open_brainglobe"]

_OURS = "asl"


def open_brainglobe(
    name: str, resolution: float | None, session: Session, *, folder: str | Path | None = None
) -> Atlas:
    """Open an atlas of BrainGlobe, fetching it if need be.

    Parameters
    ----------
    name : str
        BrainGlobe's name, such as ``"allen_mouse_50um"``.
    resolution : float or None
        Must be the atlas's own, if given.
    session : Session
        Says whether requests are allowed.
    folder : str or pathlib.Path, optional
        BrainGlobe's folder; what its own configuration says by default.

    Raises
    ------
    AtldldError
        If brainglobe-atlasapi is not installed.
    InvalidInputError
        If there is no such atlas, or it does not lie in the reference space.
    OfflineError
        If the atlas is not on disk, and no request is allowed.
    ServiceError
        If the atlas cannot be fetched.
    """
    api = need("brainglobe_atlasapi.bg_atlas", "brainglobe", "Atlases of BrainGlobe")
    if session.settings.offline and not _is_on_disk(api, name, folder):
        raise OfflineError(
            f"BrainGlobe's atlas {name} is not on this disk.",
            hint=f"Fetch it once with `atldld atlas fetch {BRAINGLOBE}{name}` (up to some hundred "
            "MB).",
        )
    try:
        # it prints what it does; standard output is for results
        with contextlib.redirect_stdout(sys.stderr):
            opened = api.BrainGlobeAtlas(name, brainglobe_dir=folder, check_latest=False)
            return from_brainglobe(opened, resolution)
    except (OfflineError, InvalidInputError):
        raise
    except FileNotFoundError as error:
        raise InvalidInputError(
            f"BrainGlobe has no atlas {name!r}: {error}",
            hint="`brainglobe list` shows those that there are.",
        ) from None
    # whatever its many parts raise when there is no network, or half an atlas
    except Exception as error:
        raise ServiceError(
            f"BrainGlobe's atlas {name} cannot be opened: {error or type(error).__name__}.",
            hint="Try again later; BrainGlobe fetches it by itself.",
        ) from error


def _is_on_disk(api: Any, name: str, folder: str | Path | None) -> bool:
    root = folder or api.config.get_brainglobe_dir()
    return any(Path(root, "brainglobe-atlasapi", "atlases", name).glob("*/manifest.json"))


def from_brainglobe(opened: Any, resolution: float | None = None) -> Atlas:
    """Return an opened atlas of brainglobe-atlasapi as one of ours.

    Parameters
    ----------
    opened : brainglobe_atlasapi.BrainGlobeAtlas
        The atlas.
    resolution : float, optional
        Must be its own.

    Raises
    ------
    InvalidInputError
        If the atlas does not fill the reference box with cubes, has another resolution, or has an
        annotation with values that are not ids.
    """
    name = str(opened.atlas_name)
    sides = {float(side) for side in opened.resolution}
    labels = as_labels(
        _turned(opened, opened.annotation), f"The annotation of BrainGlobe's atlas {name}"
    )
    extent = [count * side for count, side in zip(labels.shape, opened.resolution, strict=True)]
    if len(sides) != 1 or not np.allclose(extent, BOX, atol=max(sides)):
        raise InvalidInputError(
            f"BrainGlobe's atlas {name} spans {' × '.join(f'{x:g}' for x in extent)} µm, but the "
            f"sections lie in the space of {' × '.join(map(str, BOX))} µm (CCFv3).",
            hint="Use one of the Allen mouse brain, such as allen_mouse_25um.",
        )
    side = sides.pop()
    if resolution is not None and resolution != side:
        raise InvalidInputError(
            f"BrainGlobe's atlas {name} has {side:g} µm, not {resolution:g} µm."
        )
    graph = StructureGraph.from_answer(opened.structures_list)
    version = opened.metadata.get("version")
    return Atlas(
        name=f"{BRAINGLOBE}{name}",
        resolution=side,
        annotation=labels,
        graph=graph,
        citation=str(opened.metadata.get("citation") or "see the atlas's own metadata"),
        source=str(opened.metadata.get("atlas_link") or f"{BRAINGLOBE}{name}"),
        load=_Template(opened),
        version=None if version is None else str(version),
    )


@dataclass(frozen=True, slots=True)
class _Template:
    """The template of one of BrainGlobe's atlases, read when it is used."""

    opened: Any

    def __call__(self, _: str) -> NDArray[Any]:
        return _turned(self.opened, self.opened.template)


def _turned(opened: Any, stack: NDArray[Any]) -> NDArray[Any]:
    turned: NDArray[Any] = opened.space.map_stack_to(_OURS, np.asarray(stack), copy=False)
    return turned
