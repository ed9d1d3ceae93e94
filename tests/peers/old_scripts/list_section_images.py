"""List the section images of an experiment, page by page.

usage: list_section_images.py DATA_SET_ID > images.tsv
"""

# The formatting with % is that of such scripts.
# ruff: noqa: UP031

import sys

import requests

API = "http://api.brain-map.org/api/v2/data/query.json"
ROWS = 50

data_set_id = int(sys.argv[1])
images = []
start = 0
while True:
    url = (
        API + "?criteria=model::SectionImage"
        ",rma::criteria,[data_set_id$eq%d]"
        ",rma::include,alignment2d"
        ",rma::options[num_rows$eq%d][start_row$eq%d][order$eq'sub_images.id']"
    ) % (data_set_id, ROWS, start)
    r = requests.get(url).json()
    if not r["success"]:
        sys.exit("query failed: %s" % r["msg"])
    images += r["msg"]
    start += r["num_rows"]
    if r["num_rows"] == 0 or start >= r["total_rows"]:
        break

images.sort(key=lambda im: im["section_number"])
for im in images:
    al = im["alignment2d"]
    row = [im["id"], im["section_number"], im["width"], im["height"]]
    row += [al["tvs_%02d" % k] for k in range(6)]
    print("\t".join(str(x) for x in row))
