"""The page that says how a format is added shows one that works."""

import json
import re
from pathlib import Path

import numpy as np

from atldld.formats import voxels as formats
from atldld.formats.voxels import Voxels, write_voxels

PAGE = Path(__file__).resolve().parents[2] / "docs" / "develop" / "add-a-format.md"


def test_the_format_of_the_page(tmp_path, monkeypatch):
    (block,) = re.findall(
        r"<!-- a test runs this block -->\n```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
    )
    module = type(formats)("atldld.formats.raw")
    exec(block, module.__dict__)
    monkeypatch.setitem(formats._WRITERS, ".raw", "raw")
    monkeypatch.setattr(formats, "import_module", lambda name: module)
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    path = tmp_path / "volume.raw"
    assert write_voxels({path: Voxels(data, 25.0, "image", {"dataset_ids": [1]})}) == [path]
    header, _, body = path.read_bytes().partition(b"\n")
    assert json.loads(header)["first_centre_um"] == 12.5
    assert np.array_equal(np.frombuffer(body, "<f4").reshape(2, 3, 4), data)
