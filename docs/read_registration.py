"""Map pixels of a section image to µm of the brain by a registration, with NumPy and SimpleITK.

    python read_registration.py reg.json 69177654 4000 3000

It reads the file of `atldld refine` and the fields beside it, and needs nothing of atldld.
"""

import json
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def to_flat(section, folder, x, y):
    """Return where a pixel lies in the flat image: through the markers first, then the fields.

    A section that is flat has neither, and the pixel stays where it is.
    """
    at = np.array([x, y], dtype=float)
    if "markers" in section:
        at = by_markers(section["markers"], at)
    if "deformation" in section:
        at = by_field(section["deformation"], folder, at)
    return at


def by_field(told, folder, at):
    """Return where a pixel lies by the displacement field beside the file."""
    mm = told["pixel_um"] / 1000
    field = sitk.ReadImage(str(folder / told["to_flat"]["file"]))
    # beyond the outer nodes a pixel moves as the nearest point of the grid does
    first = np.array(field.GetOrigin())
    last = first + np.array(field.GetSpacing()) * (np.array(field.GetSize()) - 1)
    here = sitk.Image([1, 1], sitk.sitkFloat64)  # an image of one pixel, at the place
    here.SetOrigin(np.clip(at * mm, first, last).tolist())
    still = sitk.Transform(2, sitk.sitkIdentity)
    moved = [
        # between nodes runs a cubic spline
        sitk.Resample(component, here, still, sitk.sitkBSpline).GetPixel(0, 0)
        for component in (sitk.VectorIndexSelectionCast(field, axis) for axis in (0, 1))
    ]
    return at + np.array(moved) / mm


def by_markers(markers, at):
    """Return where a pixel lies by the triangles that markers make."""
    image, flat = np.array(markers["image"]), np.array(markers["flat"])
    for corners in markers["triangles"]:
        matrix = np.vstack((image[corners].T, np.ones(3)))
        share = np.linalg.solve(matrix, [*at, 1])
        if share.min() >= -1e-9:
            return share @ flat[corners]
    return at  # beyond the outer corners nothing moves


def main():
    path, image_id, x, y = Path(sys.argv[1]), sys.argv[2], *map(float, sys.argv[3:])
    document = json.loads(path.read_text("utf-8"))
    section = document["sections"][image_id]
    xy = to_flat(section, path.resolve().parent, x, y)
    p, i, r = np.array(section["image_to_reference"]) @ [*xy, 1]
    print(f"{p:.3f} {i:.3f} {r:.3f}")


if __name__ == "__main__":
    main()
