"""Section images as the service keeps them, as files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import simplejpeg

from atldld.errors import AtldldError
from atldld.fetch.kept import CachedImage
from atldld.fetch.pictures import decode
from atldld.fetch.session import Session, check_id
from atldld.formats.pictures import read_picture, write_picture
from atldld.records import SectionImage
from atldld.support.files import check_folder, check_targets, whole_file
from atldld.support.provenance import Progress

__all__ = ["copy_images", "save_image"]


def save_image(
    session: Session,
    image_id: int | str,
    folder: str | Path,
    *,
    downsample: int = 0,
    expression: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write one section image as the service keeps it, as PNG.

    Parameters
    ----------
    session : Session
        Where it comes from.
    image_id : int
        The id of the section image.
    folder : str or pathlib.Path
        Made if need be; the files are ``<image_id>-<downsample>.png`` and
        ``<image_id>-<downsample>-expression.png``.
    downsample : int
        The tier.
    expression : bool
        Write the expression mask too.
    force : bool
        Replace files that are there. Without it they may only be what would be written again.

    Returns
    -------
    list of pathlib.Path
        What was written, or was there.

    Raises
    ------
    AtldldError
        If the image or its mask cannot be fetched; nothing of it is written then.
    """
    image_id = check_id(image_id, "section image")
    folder = Path(folder)
    check_folder(folder)
    files = {folder / f"{image_id}-{downsample}.png": False}
    if expression:
        files[folder / f"{image_id}-{downsample}-expression.png"] = True
    # Scripts for 0.3 fetch images twice: what is there already need not be written again.
    new = {
        path: mask
        for path, mask in files.items()
        if force
        or not _holds(path, session.cache.find_image(image_id, downsample, expression=mask))
    }
    check_targets(new, force=force)
    if new:
        image = SectionImage.from_record(session.image_record(image_id))
        cached = {
            path: session.image(image, downsample, expression=mask) for path, mask in new.items()
        }
        for path, held in cached.items():
            pixels = session.pixels(image, downsample, expression=new[path], held=held)
            write_picture(path, pixels, force=force)
    return list(files)


def _holds(path: Path, image: CachedImage | None) -> bool:
    """Whether a file is a section image as `save_image` writes it, to the pixel."""
    try:
        held = None if image is None else read_picture(path)
        return image is not None and held is not None and np.array_equal(held, decode(image.path))
    except (OSError, AtldldError):
        return False


def copy_images(
    session: Session,
    images: Mapping[Path, SectionImage],
    downsample: int,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write section images as the service keeps them: their own JPEGs, or decoded to PNG.

    One that is not from the service has no JPEG of its own, and is encoded at quality 95.

    Parameters
    ----------
    session : Session
        Where they come from.
    images : mapping of pathlib.Path to SectionImage
        Files that end in ``.jpg`` or ``.png``, and which image each is to hold; their folders must
        exist.
    downsample : int
        The tier.
    force : bool
        Replace files that are there.
    progress : callable, optional
        Called with how many are done, how many there are, and the last one's name.

    Raises
    ------
    OutputError
        If a file cannot be written, or exists and `force` is false.
    ServiceError
        If an image cannot be fetched.
    """
    check_targets(images, force=force)
    for done, (path, image) in enumerate(images.items(), 1):
        cached = session.image(image, downsample)
        if path.suffix == ".png":
            write_picture(path, session.pixels(image, downsample, held=cached), force=force)
        else:
            with whole_file(path, force=force, sync=False) as temporary:
                if cached.path.suffix == ".jpg":
                    shutil.copyfile(cached.path, temporary)
                else:
                    pixels = session.pixels(image, downsample, held=cached)
                    temporary.write_bytes(simplejpeg.encode_jpeg(pixels, 95, "RGB", "444"))
        if progress:
            progress(done, len(images), path.name)
