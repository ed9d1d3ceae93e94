"""Send pixels of one image to the reference space, and to the sections of other experiments.

usage: sync_points.py IMAGE_ID REFERENCE_SPACE DATA_SET_ID[,DATA_SET_ID...] < points > found

Lines of input: x y. Lines of output: x y p i r, then image x y for each experiment.
"""

# The formatting with % is that of such scripts.
# ruff: noqa: UP031

import sys

import requests

API = "http://api.brain-map.org/api/v2"

image_id, space, data_set_ids = sys.argv[1:]
session = requests.Session()


def get(path, **params):
    r = session.get(API + path, params=params)
    answer = r.json()
    if not answer["success"]:
        raise RuntimeError(answer["msg"])
    return answer["msg"]


for line in sys.stdin:
    x, y = map(float, line.split())
    pir = get("/image_to_reference/%s.json" % image_id, x=x, y=y)["image_to_reference"]
    found = get(
        "/reference_to_image/%s.json" % space,
        x=pir["x"],
        y=pir["y"],
        z=pir["z"],
        section_data_set_ids=data_set_ids,
    )
    row = [x, y, pir["x"], pir["y"], pir["z"]]
    for one in found:
        sync = one["image_sync"]
        row += [sync["section_image_id"], sync["x"], sync["y"]]
    print("\t".join(repr(v) for v in row))
