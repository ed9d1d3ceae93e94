"""Download all images of an experiment (and the expression masks) as ID.jpg, ID_expr.jpg.

usage: download_images.py DATA_SET_ID FOLDER [DOWNSAMPLE]
"""

# The formatting with % is that of such scripts.
# ruff: noqa: UP031

import os
import sys

import requests

API = "http://api.brain-map.org/api/v2/"

data_set_id, folder = sys.argv[1], sys.argv[2]
downsample = int(sys.argv[3]) if len(sys.argv) > 3 else 4

if not os.path.isdir(folder):
    os.makedirs(folder)

r = requests.get(
    API + "data/SectionDataSet/query.json",
    params={"id": data_set_id, "include": "section_images,genes"},
)
r.raise_for_status()
data_set = r.json()["msg"][0]
print("%s: %s" % (data_set["id"], ", ".join(g["acronym"] for g in data_set["genes"])))

for im in data_set["section_images"]:
    name = os.path.join(folder, "%d.jpg" % im["id"])
    r = requests.get(API + "image_download/%d?downsample=%d" % (im["id"], downsample), stream=True)
    r.raise_for_status()
    with open(name, "wb") as f:
        for chunk in r.iter_content(8192):
            f.write(chunk)

    name = os.path.join(folder, "%d_expr.jpg" % im["id"])
    r = requests.get(
        API + "section_image_download/%d" % im["id"],
        params={"downsample": downsample, "view": "expression", "quality": 80},
    )
    if r.status_code == 200:
        with open(name, "wb") as f:
            f.write(r.content)
