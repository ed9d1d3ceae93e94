"""A data set of which no section is placed: every door says so, and none ends well.

The kind of fault: work that is a loop over sections ends without an error when there are none, and
reads as if all had been done. `DataSet.check_placed` is the one rule; here is every door to it.
"""

import click
import msgspec
import pytest
from click.testing import CliRunner

import atldld
from atldld.api import DataSet, assess, open_dataset, quantify
from atldld.batch import Download, Volumes, run_batch
from atldld.cli import app
from atldld.errors import AlignmentMissingError, MissingAlignmentWarning
from atldld.fetch.session import Session
from atldld.formats import write_quicknii
from atldld.place import image_to_image, reference_to_image, structure_to_image
from atldld.report import gather, open_source
from atldld.sections.download import download_dataset
from atldld.sections.files import write_fields
from atldld.sections.register import Recipe
from atldld.sync import DatasetDownloader

ID = 909

# Each writes into the working folder; "{table}" is a table of points.
COMMANDS = {
    "download dataset": ("out", "--resolution", 200),
    "export quicknii": ("-o", "a.json", "--images"),
    "export fields": ("out", "--resolution", 200),
    "export sections": ("out", "--resolution", 200),
    "atlas outlines": ("-o", "out"),
    "quality": ("-o", "q.csv"),
    "refine": ("-o", "reg.json"),
    "quantify": ("-o", "r.csv"),
    "report": ("-o", "r.html"),
    "volume": ("-o", "v.nii.gz", "--resolution", 400),
    "dataset preview": ("-o", "out"),
}
# These name a data set but go through no sections of it.
OTHERS = {"align", "dataset info", "grid", "search neighbours"}


@pytest.fixture(params=["no alignment2d", "failed", "no images"])
def unplaced(request, monkeypatch):
    """Let the service have no placed section of data set 909."""
    real = Session.dataset_records

    def changed(self, dataset_id, **options):
        records = real(self, dataset_id, **options)
        changes: dict[str, dict[str, object] | None] = {
            "no alignment2d": {"alignment2d": None},
            "failed": {"failed": True},
            "no images": None,
        }
        change = changes[request.param]
        images = [dict(one, **change) for one in records["section_images"]] if change else []
        return dict(records, section_images=images)

    monkeypatch.setattr(Session, "dataset_records", changed)
    reasons = {
        "no alignment2d": r"it has no alignment2d \(14\)",
        "failed": r"the laboratory marked it as failed \(14\)",
        "no images": "it has no images",
    }
    return reasons[request.param]


def commands(group, name=""):
    """Yield every command with its whole name."""
    for key in group.commands:
        command = group.commands[key]
        whole = f"{name} {key}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, whole)
        else:
            yield whole, command


def test_no_command_is_forgotten():
    takes_one = {
        name
        for name, command in commands(app)
        if any(
            isinstance(parameter, click.Argument)
            and parameter.name in ("dataset_id", "dataset_ids", "what")
            and not name.startswith("atlas fetch")
            for parameter in command.params
        )
    }
    assert takes_one == COMMANDS.keys() | OTHERS


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("at_demo_server")
def test_every_command_says_so_and_leaves_nothing(unplaced, command, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    arguments = [*command.split(), ID, *COMMANDS[command]]
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    # the command line exits with 1 for it
    assert isinstance(result.exception, AlignmentMissingError), (result.output, result.exception)
    assert result.exit_code == 1
    with pytest.raises(AlignmentMissingError, match=unplaced):
        raise result.exception
    assert list((tmp_path / "work").iterdir()) == []


def quietly(session):
    with pytest.warns(MissingAlignmentWarning) if session.dataset(ID).images else nothing():
        return open_dataset(ID, session=session)


def nothing():
    import contextlib

    return contextlib.nullcontext()


@pytest.mark.filterwarnings("ignore::atldld.errors.MissingAlignmentWarning")
def test_every_function_says_so(unplaced, session, tmp_path):
    dataset = quietly(session)
    atlas = atldld.open_atlas(100, session=session)
    asked = session.client.requests_sent
    for work in (
        dataset.check_placed,
        dataset.register,
        dataset.volume,
        lambda: atldld.build_volume(dataset, 400),
        lambda: assess(dataset, atlas),
        dataset.quality,
        dataset.quantify,
        dataset.refine,
        lambda: dataset.sections_near("DG"),
        lambda: dataset.at((6000, 4000, 5000)),
        lambda: dataset.download(tmp_path / "out", 200),
        lambda: dataset.report(tmp_path / "r.html"),
        lambda: dataset.export.quicknii(tmp_path / "a.json"),
        lambda: dataset.export.fields(tmp_path / "f", resolution=200),
        lambda: dataset.export.sections(tmp_path / "s", resolution=200),
        lambda: dataset.export.outlines(tmp_path / "o", atlas),
        lambda: quantify(dataset, atlas),
        lambda: gather(open_source(ID, session=session), atlas),
        lambda: write_fields(dataset, tmp_path / "f", Recipe(200)),
        lambda: write_quicknii(dataset, tmp_path / "a.json"),
        lambda: download_dataset(ID, tmp_path / "out", Recipe(200), session=session),
    ):
        with pytest.raises(AlignmentMissingError, match=unplaced):
            work()
    assert session.client.requests_sent == asked
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]


@pytest.mark.filterwarnings("ignore::atldld.errors.MissingAlignmentWarning")
@pytest.mark.parametrize("work", [Download(Recipe(200)), Volumes(400)])
def test_a_batch_calls_it_failed(unplaced, session, tmp_path, work):
    summary = run_batch([ID], tmp_path / "out", work, session=session, jobs=1, threads=1)
    assert not summary.complete
    with pytest.raises(AlignmentMissingError, match=unplaced):
        raise AlignmentMissingError(summary.failed[0].why or "")
    assert not (tmp_path / "out" / str(ID) / "metadata.json").exists()


def test_one_placed_section_is_enough(session):
    record = session.dataset(ID)
    DataSet(msgspec.structs.replace(record, images=record.images[:1]), session).check_placed()


def test_sync_needs_one_image_with_an_alignment(session, tmp_path, monkeypatch):
    record = session.dataset(ID)
    bare = msgspec.structs.replace(
        record,
        images=tuple(msgspec.structs.replace(one, alignment2d=None) for one in record.images),
    )
    image = record.images[3].id
    for work in (
        lambda: reference_to_image(bare, [(5000, 4000, 5000)]),
        lambda: structure_to_image(bare, [], []),
        lambda: image_to_image(record, image, [(5, 5)], bare),
        lambda: image_to_image(bare, image, [(5, 5)], record),
    ):
        with pytest.raises(AlignmentMissingError):
            work()
    downloader = DatasetDownloader(ID)
    downloader._dataset = bare
    with pytest.raises(AlignmentMissingError, match="none of its 14"):
        list(downloader.run())


@pytest.mark.usefixtures("at_demo_server")
def test_a_table_of_pixels_without_any_answer_is_no_success(tmp_path, monkeypatch):
    real = Session.dataset_records

    def changed(self, dataset_id, **options):
        records = real(self, dataset_id, **options)
        bare = [dict(one, alignment2d=None) for one in records["section_images"]]
        return dict(records, section_images=bare)

    monkeypatch.setattr(Session, "dataset_records", changed)
    table = tmp_path / "points.csv"
    table.write_text("image_id,x,y\n101321610,5,5\n")
    result = CliRunner().invoke(app, ["sync", "image-to-reference", str(table)])
    assert result.exit_code == 1
    assert "1 of 1 rows have no answer: 1 of images without an alignment" in result.stderr
