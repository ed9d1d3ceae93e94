"""What a process does that is killed: edits, and words to its parent once each is kept."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

from atldld.align.desk import open_desk
from atldld.atlas import open_atlas
from atldld.demo.local import in_process_session

DATASET = 69289763


def work(cache: Path, output: Path, told: Connection) -> None:
    """Edit without end."""
    session = in_process_session(cache)
    atlas = open_atlas(100, session=session)
    desk = open_desk(session.dataset(DATASET), session, atlas, output)
    ids = list(desk.sections)
    told.send("begun")
    number = desk.revision
    while True:
        image_id = ids[number % len(ids)]
        desk.say(image_id, note=str(number))
        told.send((image_id, number))
        number += 1
