"""Let PyNutil read a folder of images and their alignment; run by its own environment's Python.

pynutil_folder.py FOLDER ALIGNMENT OUT
"""

import json
import sys

import numpy as np
import pandas as pd
import PyNutil

folder, alignment, out = sys.argv[1:]
registration = PyNutil.read_alignment(alignment)
series = PyNutil.read_image_dir(folder)
sections = sorted(series.sections.values(), key=lambda section: section.section_number)
# One region that is everywhere: only the places count here. Atlases of one's own are laid out from
# left to right, posterior to anterior, inferior to superior, as QuickNII's are.
shape = (456, 528, 320)
atlas = PyNutil.AtlasData(
    np.ones(shape, dtype=np.uint32),
    np.ones(shape, dtype=np.uint8),
    pd.DataFrame({"idx": [0, 1], "name": ["Clear Label", "all"], "r": 0, "g": 0, "b": [0, 9]}),
    (25.0, 25.0, 25.0),
)
found = PyNutil.image_to_coords(series, registration, atlas, return_orientation="asr")
points = found.points
ends = np.cumsum(points.section_lengths)
with open(out, "w", encoding="utf-8") as file:
    json.dump(
        {
            "slices": len(registration.slices),
            "numbers": [section.section_number for section in sections],
            "files": [str(name) for name in found.section_filenames],
            "lengths": [int(length) for length in points.section_lengths],
            "lowest": [part.min(axis=0).tolist() for part in np.split(points.points, ends[:-1])],
            "highest": [part.max(axis=0).tolist() for part in np.split(points.points, ends[:-1])],
            # each 211th pixel, row after row
            "some": [part[::211].tolist() for part in np.split(points.points, ends[:-1])],
            "middles": [part.mean(axis=0).tolist() for part in np.split(points.points, ends[:-1])],
        },
        file,
    )
