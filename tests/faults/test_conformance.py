"""The tests that every source of images must pass: ours does, and careless ones are found out."""

import json
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from atldld.demo.local import in_process_session
from atldld.errors import ServiceError
from atldld.fetch import Limits, Session
from atldld.fetch.archive import export_archive
from atldld.fetch.sources import ArchiveImages
from atldld.records import SectionDataSet
from atldld.serve.app import Application
from atldld.settings import Settings
from atldld.testing.conformance import check_source, source_cases
from atldld.testing.faults import standard_faults

FAULTS = standard_faults(interval=0.02, outage=0.01)
LIMITS = Limits(
    connect=1, read=0.3, low_speed_seconds=0.3, attempts=3, first_wait=0.02, longest_wait=0.08
)


def our_own(url, folder):
    return Session(Settings(api_url=url, cache_dir=folder), limits=LIMITS)


class Careless:
    """Asks again when the connection breaks, and keeps whatever comes."""

    def __init__(self, url, folder):
        self.url, self.folder = url, Path(folder)
        self.folder.mkdir(exist_ok=True)

    def ask(self, target, name):
        path = self.folder / name
        for attempt in range(3):
            if path.exists():
                break
            try:
                with urllib.request.urlopen(self.url + target, timeout=2) as response:
                    path.write_bytes(response.read())
            except (OSError, EOFError) as error:
                if attempt == 2:
                    raise ServiceError(str(error)) from None
        return path

    def dataset(self, dataset_id):
        data, images = (
            json.loads(
                self.ask(
                    f"/api/v2/data/query.json?criteria=model::{model},rma::criteria,"
                    f"[{column}$eq{dataset_id}],rma::include,{include}",
                    f"{model}.json",
                ).read_bytes()
            )["msg"]
            for model, column, include in (
                ("SectionDataSet", "id", "alignment3d"),
                ("SectionImage", "data_set_id", "alignment2d"),
            )
        )
        return SectionDataSet.from_records(data[0], images)

    def image(self, image, downsample=0, *, expression=False):
        view = "&view=expression" if expression else ""
        target = f"/api/v2/section_image_download/{image.id}?downsample={downsample}{view}"
        return SimpleNamespace(path=self.ask(target, f"{image.id}-{downsample}-{expression}.jpg"))


def check(make_source, archive, case, folder):
    check_source(make_source, Application(archive), 909, case, folder=folder, within=20)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("case", source_cases(FAULTS, targets=("image", "mask")), ids=str)
def test_a_session_survives(case, archive, tmp_path):
    check(our_own, archive, case, tmp_path)


CARELESS = {
    "cut in the middle",
    "last bytes missing",
    "hole in the middle",
    "another size",
    "html",
    "empty",
    "refusal",
}


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("name", sorted(CARELESS))
def test_a_source_that_does_not_check_is_found_out(name, lasting, archive, tmp_path):
    (case,) = (
        case
        for case in source_cases({name: FAULTS[name]}, targets=["image"])
        if case.lasting is lasting
    )
    with pytest.raises(AssertionError, match=name):
        check(Careless, archive, case, tmp_path)


def test_a_source_that_never_asks_again_is_found_out(archive, tmp_path, monkeypatch):
    def once(url, folder):
        return Session(Settings(api_url=url, cache_dir=folder), limits=Limits(attempts=1, read=0.3))

    for case in source_cases({"500": FAULTS["500"]}):
        folder = tmp_path / str(case)
        if case.lasting:
            check(once, archive, case, folder)
        else:
            with pytest.raises(AssertionError, match="500"):
                check(once, archive, case, folder)


def test_a_source_that_waits_too_long_is_found_out(archive, tmp_path):
    (case,) = (
        case
        for case in source_cases({"silence": FAULTS["silence"]}, targets=["image"])
        if case.lasting
    )
    with pytest.raises(AssertionError, match=r"it lasted [0-9.]+ s"):
        check_source(our_own, Application(archive), 909, case, folder=tmp_path, within=0.5)


SOME = ("reset in the middle", "cut in the middle", "500", "html", "another size")


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("name", SOME)
def test_a_session_with_an_archive_survives(name, lasting, archive, tmp_path):
    """The archive has the first and the third image; the second is the service's to send."""
    with in_process_session(tmp_path / "filled", archive) as filled:
        for image in filled.dataset(909).images[:3:2]:
            filled.image(image, 4)
        export_archive(filled.cache, tmp_path / "some.zip")

    def make_source(url, folder):
        settings = Settings(api_url=url, cache_dir=folder)
        sources = [ArchiveImages(tmp_path / "some.zip")]
        return Session(settings, limits=LIMITS, sources=sources)

    cases = source_cases({name: FAULTS[name]}, targets=["image"])
    for case in cases:
        if case.lasting is lasting:
            check(make_source, archive, case, tmp_path / "checked")
