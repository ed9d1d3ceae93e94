"""Batches on this machine: going on, giving up, limits."""

import dataclasses
import json
import pickle
import shutil
import threading
import time
import warnings

import numpy as np
import pytest

from atldld.batch import (
    Alignments,
    AtlasChoice,
    BatchProgress,
    Download,
    Registrations,
    Volumes,
    run_batch,
)
from atldld.demo.local import in_process_session
from atldld.errors import InvalidInputError, MissingFileError, NetworkError, OutputError
from atldld.fetch.client import Client
from atldld.fetch.limits import Limits
from atldld.place.alignment import read_alignment
from atldld.place.registration import Registration
from atldld.sections.download import download_dataset
from atldld.sections.metadata import read_metadata
from atldld.sections.register import Recipe
from atldld.warp.stain import JET, Scale


def files(folder):
    """Every file below a folder with its bytes, but for what differs from run to run."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix == ".png"
    }


def test_each_data_set_is_made_as_by_itself(session, ids, work, tmp_path):
    alone = tmp_path / "alone"
    download_dataset(ids[0], alone / str(ids[0]), work.recipe, session=session)
    summary = run_batch(ids[:1], tmp_path / "batch", work, session=session)
    assert summary.complete
    assert files(tmp_path / "batch") == files(alone)
    (entry,) = summary.entries
    metadata = json.loads((alone / str(ids[0]) / "metadata.json").read_text())
    assert entry.sections == len(metadata["per_image"]) == 14
    assert entry.image_bytes == sum(
        one["source"]["bytes"] for one in metadata["per_image"].values()
    )
    made = (tmp_path / "batch" / str(ids[0])).iterdir()
    assert entry.bytes == sum(path.stat().st_size for path in made)


def test_how_many_at_once_makes_no_difference(session, ids, work, tmp_path):
    for jobs in (1, 4):
        summary = run_batch(ids[:4], tmp_path / str(jobs), work, session=session, jobs=jobs)
        assert [entry.data_set for entry in summary.entries] == ids[:4]
    assert files(tmp_path / "1") == files(tmp_path / "4") != {}


def test_the_same_again_asks_nothing_and_makes_nothing(session, ids, work, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run_batch(ids[:2], out, work, session=session)
    sent = session.client.requests_sent
    monkeypatch.setattr(Download, "make", None)
    again = run_batch(ids[:2], out, work, session=session)
    assert again.complete
    assert again.kept == 2
    assert again.entries[0].sections == 14
    assert session.client.requests_sent == sent


@pytest.mark.parametrize("harm", ["folder", "picture", "metadata"])
def test_what_is_done_but_not_there_is_made_again(session, ids, work, tmp_path, harm):
    out = tmp_path / "out"
    run_batch(ids[:2], out, work, session=session)
    before = files(out)
    folder = out / str(ids[0])
    if harm == "folder":
        shutil.rmtree(folder)
    elif harm == "picture":
        next(folder.glob("*.png")).unlink()
    else:
        (folder / "metadata.json").unlink()
    again = run_batch(ids[:2], out, work, session=session)
    assert again.complete
    assert again.kept == 1
    assert files(out) == before


def test_a_longer_list_goes_on(session, ids, work, tmp_path):
    run_batch(ids[:1], tmp_path, work, session=session)
    assert run_batch(ids[:3], tmp_path, work, session=session).kept == 1


def test_one_that_fails_does_not_stop_the_others(session, ids, work, tmp_path):
    summary = run_batch([ids[0], 12345, ids[0], ids[1]], tmp_path, work, session=session)
    assert [entry.state for entry in summary.entries] == ["done", "failed", "done"]
    assert "no section data set 12345" in (summary.failed[0].why or "")
    assert not summary.complete
    assert summary.given_up is None
    journal = (tmp_path / "batch.jsonl").read_text().splitlines()
    assert sum('"data_set"' in line for line in journal) == 3


def test_an_error_that_nobody_thought_of_does_not_either(session, ids, work, tmp_path, monkeypatch):
    make = Download.make

    def strange(self, dataset_id, *arguments, **options):
        if dataset_id == ids[0]:
            raise ZeroDivisionError("by nothing")
        return make(self, dataset_id, *arguments, **options)

    monkeypatch.setattr(Download, "make", strange)
    summary = run_batch(ids[:2], tmp_path, work, session=session)
    assert [entry.state for entry in summary.entries] == ["failed", "done"]
    assert summary.failed[0].why == "ZeroDivisionError: by nothing"


def test_a_service_that_is_down_ends_it(session, ids, work, tmp_path, monkeypatch):
    asked = []

    def refuse(self, url):
        asked.append(url)
        raise NetworkError("There is no line.", url=url)

    with monkeypatch.context() as without:
        without.setattr(Client, "get_json", refuse)
        summary = run_batch(ids, tmp_path, work, session=session)
    assert len(summary.failed) == 5
    assert summary.left == tuple(ids[5:])
    assert "There is no line." in (summary.given_up or "")
    assert len({url for url in asked if "SectionDataSet" in url}) == 5
    assert run_batch(ids[:6], tmp_path, work, session=session).complete


def test_failures_that_are_a_data_sets_own_do_not(session, work, tmp_path):
    summary = run_batch(range(1, 9), tmp_path, work, session=session)
    assert len(summary.failed) == 8
    assert summary.given_up is None


def test_other_options_are_refused(session, ids, work, tmp_path):
    run_batch(ids[:1], tmp_path, work, session=session)
    other = Download(Recipe(resolution=250, downsample=4))
    with pytest.raises(OutputError, match="resolution 200 there, 250 now"):
        run_batch(ids[:1], tmp_path, other, session=session)
    again = run_batch(ids[:1], tmp_path, other, session=session, force=True)
    assert again.complete
    assert again.kept == 0


def test_two_at_once_are_refused(session, ids, work, tmp_path):
    import filelock

    with (
        filelock.FileLock(tmp_path / ".batch.jsonl.lock"),
        pytest.raises(OutputError, match="Another process"),
    ):
        run_batch(ids[:1], tmp_path, work, session=session)


def test_ctrl_c_leaves_a_journal_to_go_on_from(session, ids, work, tmp_path):
    def stop(now):
        if now.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(ids[:4], tmp_path, work, session=session, progress=stop)
    assert run_batch(ids[:4], tmp_path, work, session=session).kept >= 2


def test_progress_tells_what_is_left(session, ids, work, tmp_path):
    seen: list[BatchProgress] = []
    run_batch(ids[:1], tmp_path, work, session=session)
    run_batch([*ids[:3], 12345], tmp_path, work, session=session, progress=seen.append)
    assert [(now.done, now.failed, now.left) for now in seen] == [
        (1, 0, 3),
        (2, 0, 2),
        (3, 0, 1),
        (3, 1, 0),
    ]
    assert seen[0].seconds_left is None
    assert seen[1].seconds_left is not None
    assert seen[1].seconds_left > 0
    assert seen[-1].seconds_left == 0
    assert seen[1].bytes > 0


@pytest.mark.parametrize(
    ("ids", "work", "options"),
    [
        ([], Download(), {}),
        ([1], Download(), {"jobs": 0}),
        ([1], Download(Recipe(resolution=-1)), {}),
        ([1], Download(Recipe(cut="sideways")), {}),  # type: ignore[arg-type]
        ([1], Volumes(channel="colour"), {}),  # type: ignore[arg-type]
        ([1], Volumes(ending=".jpg"), {}),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_done(session, tmp_path, ids, work, options):
    with pytest.raises(InvalidInputError):
        run_batch(ids, tmp_path / "out", work, session=session, **options)
    assert not (tmp_path / "out").exists()
    assert session.client.requests_sent == 0


def test_a_file_in_the_place_of_the_folder(session, ids, work, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        run_batch(ids, tmp_path / "out", work, session=session)


@pytest.mark.parametrize("channel", ["intensity", "expression"])
def test_volumes_are_the_same_as_one_by_one(session, ids, tmp_path, channel):
    from atldld.api import open_dataset

    own = Scale.of("own", JET.colours[np.minimum(2 * np.arange(256), 255)])
    work = Volumes(resolution=400, channel=channel, ending=".npy", scale=own)
    summary = run_batch(ids[:2], tmp_path, work, session=session)
    assert summary.complete
    alone = open_dataset(ids[1], session=session).volume(400, channel=channel, scale=own)
    path = tmp_path / str(ids[1]) / f"{ids[1]}.npy"
    np.testing.assert_array_equal(np.load(path), alone.data)
    said = own.describe() if channel == "expression" else None
    assert json.loads(path.with_name("metadata.json").read_text())["request"].get("scale") == said
    metadata = json.loads(path.with_name("metadata.json").read_text())
    assert metadata["complete"] is True
    assert metadata["synthetic"] is True
    assert f"{ids[1]}_coverage.npy" in metadata["files"]
    assert summary.entries[0].sections == 14
    assert summary.entries[0].image_bytes > 1000
    assert run_batch(ids[:2], tmp_path, work, session=session).kept == 2
    path.unlink()
    assert run_batch(ids[:2], tmp_path, work, session=session).kept == 1


def test_defects_are_counted_for_each_and_do_not_warn(session, ids, work, tmp_path):
    records = session.dataset_records(ids[0])
    images = [dict(image) for image in records["section_images"]]
    images[0]["alignment2d"] = None
    session.cache.write_document("datasets", str(ids[0]), {**records, "section_images": images})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = run_batch(ids[:2], tmp_path, work, session=session, jobs=2)
    assert [entry.defects for entry in summary.entries] == [1, 0]
    assert [entry.sections for entry in summary.entries] == [13, 14]
    metadata = json.loads((tmp_path / str(ids[1]) / "metadata.json").read_text())
    assert metadata["warnings"] == []


def test_requests_at_once_and_a_second_are_bounded_for_all(archive, ids, work, tmp_path):
    """However many data sets are made at once."""
    from atldld.serve.app import Application

    application, lock = Application(archive), threading.Lock()
    begun, now, most = [], 0, 0

    def counting(environ, start_response):
        nonlocal now, most
        with lock:
            begun.append(time.monotonic())
            now += 1
            most = max(most, now)
        try:
            time.sleep(0.01)
            return application(environ, start_response)
        finally:
            with lock:
                now -= 1

    import httpx

    with in_process_session(tmp_path / "cache", archive) as session:
        session.client = Client(
            session.client.base_url,
            limits=Limits(in_flight=3, per_second=60),
            transport=httpx.WSGITransport(app=counting),
        )
        assert run_batch(ids[:4], tmp_path / "out", work, session=session, jobs=4).complete
    assert most == 3
    # a few more, as copies of one picture look like answers that came twice
    assert len(begun) >= 4 * (2 + 14)
    # a burst of three, then 60 a second
    assert begun[-1] - begun[0] >= (len(begun) - 3) / 60 - 0.02
    begun.sort()
    spans = [later - earlier for earlier, later in zip(begun, begun[30:], strict=False)]
    assert min(spans) >= (30 - 3) / 60 - 0.02


def registration_in(path):
    found = read_alignment(path)
    assert isinstance(found, Registration)
    return found


ATLAS = AtlasChoice(resolution=100)
REFINED = Registrations(ATLAS, steps=("whole",), resolution=200)


def test_registrations(session, ids, tmp_path):
    summary = run_batch(ids[:2], tmp_path / "out", REFINED, session=session)
    assert summary.complete, summary.failed
    for dataset_id in ids[:2]:
        path = tmp_path / "out" / str(dataset_id) / f"{dataset_id}.json"
        found = registration_in(path)
        assert found.dataset_id == dataset_id
        assert found.about["steps"] == ["whole"]
        assert REFINED.is_whole(path.parent)
    made = path.stat().st_mtime_ns
    # what is done is not done again
    again = run_batch(ids[:2], tmp_path / "out", REFINED, session=session)
    assert (again.kept, again.complete) == (2, True)
    assert path.stat().st_mtime_ns == made
    # unless it is gone
    path.unlink()
    again = run_batch(ids[:2], tmp_path / "out", REFINED, session=session)
    assert (again.kept, again.complete) == (1, True)
    assert path.exists()
    assert pickle.loads(pickle.dumps(REFINED)) == REFINED  # as workers elsewhere are sent it
    with pytest.raises(OutputError, match="most"):
        run_batch(
            ids[:2], tmp_path / "out", dataclasses.replace(REFINED, most=10.0), session=session
        )


def test_curved_registrations_have_their_fields(session, ids, tmp_path):
    work = Registrations(ATLAS, steps=("inplane",), resolution=150)
    place = tmp_path / "out" / str(ids[0])
    assert run_batch(ids[:1], tmp_path / "out", work, session=session).complete
    bent = [
        fit
        for fit in registration_in(place / f"{ids[0]}.json").sections.values()
        if fit.deformation
    ]
    assert bool(bent) == (place / f"{ids[0]}.fields").is_dir()
    assert json.loads((place / "metadata.json").read_text())["complete"]


def test_batches_take_the_alignments_of_a_batch(session, ids, tmp_path):
    run_batch(ids[:2], tmp_path / "reg", REFINED, session=session)
    moved = Alignments(str(tmp_path / "reg"))
    work = Download(Recipe(resolution=200, downsample=4), alignments=moved)
    summary = run_batch(ids[:3], tmp_path / "out", work, session=session)
    # the third has no registration, and says so
    assert [entry.state for entry in summary.entries] == ["done", "done", "failed"]
    assert f"no alignment of section data set {ids[2]}" in str(summary.failed[0].why)
    told = read_metadata(tmp_path / "out" / str(ids[0]))
    assert told.alignment is not None
    assert told.alignment["file"] == f"{ids[0]}.json"
    volumes = Volumes(resolution=400, alignments=moved)
    assert run_batch(ids[:1], tmp_path / "vol", volumes, session=session).complete
    made = json.loads((tmp_path / "vol" / str(ids[0]) / "metadata.json").read_text())
    assert made["datasets"][0]["alignment"]["file"] == f"{ids[0]}.json"
    # a refinement starts from them too
    further = dataclasses.replace(REFINED, alignments=moved)
    assert run_batch(ids[:1], tmp_path / "again", further, session=session).complete
    found = registration_in(tmp_path / "again" / str(ids[0]) / f"{ids[0]}.json")
    assert found.about["start"]["file"] == f"{ids[0]}.json"


def test_alignments_are_found_by_id(tmp_path):
    for name in ("7.json", "8/8.json", "planes-9.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    folder, pattern = Alignments(str(tmp_path)), Alignments(str(tmp_path / "planes-{id}.json"))
    folder.check()
    pattern.check()
    assert folder.of(7) == tmp_path / "7.json"
    assert folder.of(8) == tmp_path / "8" / "8.json"
    assert pattern.of(9) == tmp_path / "planes-9.json"
    for which, number in ((folder, 9), (pattern, 7)):
        with pytest.raises(MissingFileError, match=f"no alignment of section data set {number}"):
            which.of(number)
    with pytest.raises(InvalidInputError, match=r"neither a folder nor a name with \{id\}"):
        Alignments(str(tmp_path / "7.json")).check()
    # journals of batches without alignments are as they were
    assert "alignments" not in Volumes().describe()
    assert "alignments" not in Download().describe()
    assert Volumes(alignments=folder).describe()["alignments"] == str(tmp_path)
