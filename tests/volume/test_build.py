"""Volumes against what the demo brain is, and what is refused.

The demo brain f is known everywhere. Its sections are rendered without cells and noise, fetched as
JPEG, and laid into voxels. What a voxel must show is computed here from the records alone: for each
section that some of the voxel's parts lie in, f averaged over the voxel's square, moved along the
volume's s axis onto the section's plane; then the average of these by how much of the voxel lies in
each.
"""

import json

import msgspec
import numpy as np
import pytest

from atldld.api import DataSet, build_volume, open_dataset
from atldld.demo import anatomy
from atldld.demo.archive import DemoArchive
from atldld.demo.local import in_process_session
from atldld.errors import InvalidInputError, OfflineError, SkippedImageWarning
from atldld.place.spaces import BOX
from atldld.support.memory import available_memory
from atldld.volume.model import Volume
from atldld.warp.stain import JET, Scale

CORONAL, SAGITTAL = 71717084, 69289763
LIMIT = 2.0  # grey levels, RMS
MIDDLE = slice(52, 60)  # eight sections in the middle of the brain


class TiltedArchive(DemoArchive):
    """The coronal data set of a brain that was cut at other angles: all else is the same."""

    def __init__(self, degrees, **options):
        super().__init__([CORONAL], **options)
        [(dataset, images)] = self._datasets
        alignment = dict(dataset["alignment3d"])
        numbers = [alignment[f"tvr_{k:02d}"] for k in range(12)]
        about_i, about_r = np.radians(degrees)
        turned = np.array(
            [
                (np.cos(about_i), 0, np.sin(about_i)),
                (0, 1, 0),
                (-np.sin(about_i), 0, np.cos(about_i)),
            ]
        ) @ np.array(
            [
                (np.cos(about_r), -np.sin(about_r), 0),
                (np.sin(about_r), np.cos(about_r), 0),
                (0, 0, 1),
            ]
        )
        middle = np.array(BOX) / 2
        linear = turned @ np.reshape(numbers[:9], (3, 3))
        shift = middle + turned @ (np.array(numbers[9:]) - middle)
        back = np.linalg.inv(linear)
        for name, matrix, moved in (("tvr", linear, shift), ("trv", back, -back @ shift)):
            for k, number in enumerate([*matrix.ravel(), *moved]):
                alignment[f"{name}_{k:02d}"] = float(f"{number:.6g}")
        self._datasets = [({**dataset, "alignment3d": alignment}, images)]


@pytest.fixture(scope="module")
def plain_session(tmp_path_factory):
    """The demo archive without cells, noise and labels."""
    source = DemoArchive(cells=False, noise=False, label=None)
    with in_process_session(tmp_path_factory.mktemp("plain"), source) as session:
        yield session


@pytest.fixture(scope="module")
def tilted_session(tmp_path_factory):
    """The same, cut 10° off."""
    # 10° between the normals: acos(cos 8° · cos 6°) = 9.99°
    source = TiltedArchive((8, 6), cells=False, noise=False, label=None)
    with in_process_session(tmp_path_factory.mktemp("tilted"), source) as session:
        yield session


def part_of(session, dataset_id, which):
    """A data set of some of the sections of one."""
    record = session.dataset(dataset_id)
    return DataSet(msgspec.structs.replace(record, images=record.images[which]), session)


class Truth:
    """What the sections of a data set must show, from its records."""

    def __init__(self, dataset, function=anatomy.color):
        to_reference = dataset.record.alignment3d.to_reference
        self.function = function
        self.shift, self.across = to_reference[:, 3], to_reference[:, 2]
        self.to_s = np.linalg.inv(to_reference[:, :3])[2]
        self.planes = np.array([section.number * section.thickness for section in dataset])
        self.thickness = dataset.record.section_thickness
        self.depth_axis = dataset.plane.depth_axis

    def depth(self, points):
        return (points - self.shift) @ self.to_s

    def of_section(self, points, plane, side):
        """f averaged over squares of `side` µm about points, moved onto a section."""
        across = np.delete(np.arange(3), self.depth_axis)
        offsets = np.zeros((25, 3))
        steps = ((np.arange(5) + 0.5) / 5 - 0.5) * side
        offsets[:, across] = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        around = points[:, None] + offsets
        around = around - (self.depth(around) - plane)[..., None] * self.across
        return self.function(around).mean(axis=1)

    def of_voxels(self, points, side):
        """What covered voxels show, and their coverage."""
        steps = ((np.arange(9) + 0.5) / 9 - 0.5) * side
        parts = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
        depths = self.depth(points[:, None] + parts)
        total, coverage = np.zeros(()), np.zeros(len(points))
        for plane in self.planes:
            weight = (np.abs(depths - plane) <= self.thickness / 2).mean(axis=1)
            own = weight > 0
            if own.any():
                shown = self.of_section(points[own], plane, side)
                if not total.ndim:
                    total = np.zeros((len(points), *shown.shape[1:]))
                total[own] += shown * weight[own].reshape(-1, *[1] * (shown.ndim - 1))
                coverage += weight
        return total / np.maximum(coverage, 1e-9).reshape(-1, *[1] * (total.ndim - 1)), coverage


def some_voxels(chosen, resolution, number, seed=0):
    """Indices and centres (µm) of some of the chosen voxels whose surroundings are all tissue."""
    places = np.flatnonzero(chosen)
    rng = np.random.default_rng(seed)
    places = rng.choice(places, min(12 * number, len(places)), replace=False)
    indices = np.stack(np.unravel_index(places, chosen.shape), axis=-1)
    centres = (indices + 0.5) * resolution
    away = max(resolution, 100)
    around = away * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
    inside = (anatomy.tissue(centres[:, None] + around) > 0.99).all(axis=1)
    assert inside.sum() > 200
    return indices[inside][:number], centres[inside][:number]


def rms(difference):
    return float(np.sqrt(np.mean(np.square(difference, dtype=float))))


def differences_from_truth(dataset, volume, shifts=((0, 0, 0),), number=1500):
    """RMS difference, in grey levels, of covered voxels from the truth, and of their coverage.

    Both for each of some shifts of the truth, in voxels.
    """
    indices, centres = some_voxels(volume.coverage > 0.05, volume.resolution, number)
    where = tuple(indices.T)
    truth = Truth(dataset)
    for shift in shifts:
        shown, coverage = truth.of_voxels(
            centres + np.multiply(shift, volume.resolution), volume.resolution
        )
        clear = coverage > 0.05
        yield rms((volume.data[where] - shown)[clear]), rms(volume.coverage[where] - coverage)


@pytest.fixture(scope="module")
def straight(plain_session):
    """The middle of the coronal data set, and its volume at 25 µm."""
    dataset = part_of(plain_session, CORONAL, MIDDLE)
    return dataset, dataset.volume(25)


@pytest.fixture(scope="module")
def sagittal(plain_session):
    """The same of the sagittal one."""
    dataset = part_of(plain_session, SAGITTAL, slice(9, 12))
    return dataset, dataset.volume(25)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("middle", ["straight", "sagittal"])
def test_voxels_show_the_truth(middle, request):
    dataset, volume = request.getfixturevalue(middle)
    assert volume.data.shape == (528, 320, 456, 3)
    assert volume.data.dtype == np.uint8
    assert volume.coverage.dtype == np.float32
    # a quarter of a voxel would be noticed, along any axis of the section
    across = np.delete(np.eye(3), dataset.plane.depth_axis, axis=0)
    shifts = 0.25 * np.array([(0, 0, 0), *across, *-across])
    (colours, coverage), *shifted = differences_from_truth(dataset, volume, shifts)
    assert colours <= LIMIT
    assert coverage < 0.06  # the truth cuts a voxel into 9³ parts
    assert len(shifted) == 4
    assert min(noticed for noticed, _ in shifted) > LIMIT


@pytest.mark.long
def test_sections_tilted_by_10_degrees_are_as_good(straight, tilted_session):
    tilted = part_of(tilted_session, CORONAL, MIDDLE)
    assert straight[0].sections[0].geometry.tilt < 0.5
    assert 9.5 < tilted.sections[0].geometry.tilt < 10.5
    [(of_straight, _)] = differences_from_truth(*straight)
    [(of_tilted, coverage)] = differences_from_truth(tilted, tilted.volume(25))
    assert of_tilted <= min(of_straight * 1.15, LIMIT)
    assert coverage < 0.06


def between_sections(dataset, volume, number):
    """Some voxels in tissue between sections, uncovered, and how wide the gap is there, in µm."""
    truth = Truth(dataset)
    empty = (volume.coverage == 0) & volume.data.any(axis=-1)
    indices, centres = some_voxels(empty, volume.resolution, 2 * number)
    after = np.searchsorted(truth.planes, truth.depth(centres))
    between = (after > 0) & (after < len(truth.planes))
    gaps = np.diff(truth.planes)[after[between] - 1]
    return indices[between][:number], centres[between][:number], gaps[:number]


def gain_of_linear(dataset, resolution, number):
    """By how many dB linear filling is nearer to f, averaged over voxels, than nearest.

    In gaps as wide as the sections' spacing of 100 µm, and where one is missing.
    """
    steps = ((np.arange(4) + 0.5) / 4 - 0.5) * resolution
    parts = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    nearest, linear = (dataset.volume(resolution, fill=fill) for fill in ("nearest", "linear"))
    # nearest leaves nothing known where the nearer section's picture ends: not these
    indices, centres, gaps = between_sections(dataset, nearest, number)
    where = tuple(indices.T)
    of_brain = anatomy.color(centres[:, None] + parts).mean(axis=1)
    gains = []
    for chosen in (gaps <= 100, gaps > 100):
        if not chosen.any():
            gains.append(np.nan)
            continue
        errors = [rms((volume.data[where] - of_brain)[chosen]) for volume in (nearest, linear)]
        gains.append(20 * np.log10(errors[0] / errors[1]))
        print(f"{resolution} µm, {chosen.sum()} voxels: {errors}, {gains[-1]:.2f} dB")
    return gains


@pytest.mark.one_in(2)
@pytest.mark.parametrize("tilted", [False, True])
def test_linear_filling_is_exactly_that(plain_session, tilted_session, tilted):
    """(1 − α) of f on the section before, α of f on the one after, along the s axis."""
    dataset = part_of(tilted_session if tilted else plain_session, CORONAL, slice(54, 58))
    volume = dataset.volume(25, fill="linear")
    indices, centres, _ = between_sections(dataset, volume, 1200)
    truth = Truth(dataset)
    after = np.searchsorted(truth.planes, truth.depth(centres))
    expected = np.empty((len(centres), 3))
    for k in np.unique(after):
        own = after == k
        low, high = truth.planes[k - 1 : k + 1]
        share = ((truth.depth(centres[own]) - low) / (high - low))[:, None]
        expected[own] = (1 - share) * truth.of_section(centres[own], low, 25)
        expected[own] += share * truth.of_section(centres[own], high, 25)
    assert rms(volume.data[tuple(indices.T)] - expected) <= LIMIT


@pytest.mark.one_in(2)
@pytest.mark.parametrize("tilted", [False, True])
def test_linear_filling_is_nearer_to_the_brain(plain_session, tilted_session, tilted):
    # In the middle of the demo brain, whose clumps are as small as the sections are apart.
    session = tilted_session if tilted else plain_session
    at_spacing, _ = gain_of_linear(part_of(session, CORONAL, slice(52, 62)), 50, 2000)
    assert at_spacing >= 3


def test_filling_adds_no_coverage_and_leaves_what_is_covered(plain_session):
    dataset = part_of(plain_session, CORONAL, slice(54, 58))
    plain, filled = dataset.volume(50), dataset.volume(50, fill="linear")
    np.testing.assert_array_equal(plain.coverage, filled.coverage)
    covered = plain.coverage > 0
    # rounded to 8 bits, whatever was there before
    assert np.abs(plain.data[covered] - filled.data[covered].astype(int)).max() <= 1
    known = filled.data.any(axis=-1)
    assert known.sum() > 1.3 * covered.sum()
    # half a gap beyond the outer sections is the end
    s = Truth(dataset).depth((np.stack(np.nonzero(known), axis=-1) + 0.5) * 50)
    numbers = [section.number for section in dataset]
    ends = [
        25 * n for n in (1.5 * numbers[0] - 0.5 * numbers[1], 1.5 * numbers[-1] - 0.5 * numbers[-2])
    ]
    assert s.min() >= ends[0] - 0.1
    assert s.max() <= ends[1] + 0.1
    assert s.min() < ends[0] + 30
    assert s.max() > ends[1] - 30


def test_thickness_makes_slabs_thicker(plain_session):
    dataset = part_of(plain_session, CORONAL, slice(55, 57))
    thin, thick = dataset.volume(50), dataset.volume(50, thickness=100)
    assert thick.coverage.sum() == pytest.approx(4 * thin.coverage.sum(), rel=0.01)
    # with the spacing as the thickness nothing between two sections is left out
    assert thick.coverage.max() == pytest.approx(1, abs=0.01)
    assert thick.metadata["datasets"][0]["thickness_used_um"] == 100


def test_data_sets_are_averaged_and_their_coverage_is_summed(plain_session):
    coronal = part_of(plain_session, CORONAL, slice(54, 58))
    sagittal = part_of(plain_session, SAGITTAL, slice(9, 11))
    both = build_volume([coronal, sagittal], 100)
    one, other = coronal.volume(100), sagittal.volume(100)
    np.testing.assert_allclose(both.coverage, one.coverage + other.coverage, atol=1e-4)
    shared = (one.coverage > 0) & (other.coverage > 0)
    assert shared.sum() > 100
    weights = one.coverage[shared, None], other.coverage[shared, None]
    expected = one.data[shared] * weights[0] + other.data[shared] * weights[1]
    found = both.data[shared]
    assert np.abs(found - expected / sum(weights)).max() < 1.2
    np.testing.assert_array_equal(both.data[one.coverage == 0], other.data[one.coverage == 0])
    assert both.dataset_ids == (CORONAL, SAGITTAL)


def test_the_number_of_threads_changes_nothing(plain_session):
    dataset = part_of(plain_session, CORONAL, slice(54, 58))
    one, more = (dataset.volume(100, fill="linear", jobs=jobs) for jobs in (1, 4))
    np.testing.assert_array_equal(one.data, more.data)
    np.testing.assert_array_equal(one.coverage, more.coverage)


def test_expression_is_the_intensity_of_the_masks(plain_session):
    dataset = part_of(plain_session, CORONAL, slice(60, 64))
    volume = dataset.volume(25, channel="expression")
    assert volume.data.dtype == np.float32
    assert volume.data.shape == volume.coverage.shape
    assert volume.data.min() >= 0
    assert volume.data.max() <= 1
    indices, centres = some_voxels(volume.coverage > 0.3, 25, 4000)
    shown, _ = Truth(dataset, anatomy.expression).of_voxels(centres, 25)
    found = volume.data[tuple(indices.T)]
    strong = shown > 0.4
    assert strong.sum() > 30
    assert rms(found[strong] - shown[strong]) < 0.08
    assert found[shown < 0.001].max() < 0.05
    assert volume.metadata["scale"] == JET.describe()
    # the same masks by a scale of half the range
    own = Scale.of("half", JET.colours[np.minimum(2 * np.arange(256), 255)])
    half = dataset.volume(25, channel="expression", scale=own)
    assert half.metadata["scale"]["name"] == "half"
    both = half.data[tuple(indices.T)][strong]
    assert both.mean() == pytest.approx(found[strong].mean() / 2, rel=0.03)


def test_intensity_is_darkness(plain_session):
    dataset = part_of(plain_session, CORONAL, slice(56, 59))
    volume, colours = (dataset.volume(50, channel=channel) for channel in ("intensity", "image"))
    assert volume.data.dtype == np.float32
    covered = volume.coverage > 0
    np.testing.assert_array_equal(covered, colours.coverage > 0)
    weights = np.array([0.21, 0.72, 0.07])
    expected = 1 - colours.data[covered] @ weights / (anatomy.BACKGROUND @ weights)
    assert rms(volume.data[covered] - np.clip(expected, 0, 1)) < 0.01
    assert volume.data.max() > 0.5


def test_the_metadata_say_where_it_comes_from(plain_session):
    dataset = part_of(plain_session, CORONAL, slice(54, 56))
    metadata = dataset.volume(200).metadata
    assert json.loads(json.dumps(metadata)) == metadata
    assert metadata["synthetic"] is True
    [described] = metadata["datasets"]
    assert [one["image_id"] for one in described["sections"]] == [s.id for s in dataset]
    assert described["genes"] == ["Pdyn"]
    assert "Allen Institute" in described["citation"]
    assert described["thickness_used_um"] == 25


def test_progress_is_told(plain_session):
    dataset = part_of(plain_session, CORONAL, slice(54, 57))
    told = []
    dataset.volume(200, progress=lambda *what: told.append(what))
    last = dataset.sections[-1].number
    assert [done for done, _, _ in told] == [1, 2, 3]
    assert told[-1] == (3, 3, f"section {last}")


def test_a_section_that_cannot_be_had_widens_the_gap(plain_session, tmp_path):
    dataset = part_of(plain_session, CORONAL, slice(54, 58))
    lost = dataset.sections[1]

    class Losing:
        """A session that cannot have one image."""

        def __init__(self, session):
            self._session = session

        def __getattr__(self, name):
            return getattr(self._session, name)

        def image(self, image, *arguments, **options):
            if image.id == lost.id:
                raise OfflineError("This one is lost.", image_id=image.id)
            return self._session.image(image, *arguments, **options)

    holed = DataSet(dataset.record, Losing(plain_session))  # type: ignore[arg-type]
    with pytest.warns(SkippedImageWarning, match="This one is lost"):
        volume = holed.volume(50, fill="linear")
    assert list(volume.metadata["datasets"][0]["failed"]) == [str(lost.id)]
    without = [section.image for section in dataset if section is not lost]
    same = DataSet(msgspec.structs.replace(dataset.record, images=tuple(without)), plain_session)
    np.testing.assert_array_equal(volume.data, same.volume(50, fill="linear").data)

    alone = msgspec.structs.replace(dataset.record, images=(lost.image,))
    with pytest.raises(OfflineError, match="lost"):
        DataSet(alone, Losing(plain_session)).volume(100)  # type: ignore[arg-type]


def test_two_images_of_one_section_number_are_one_plane(plain_session):
    dataset = part_of(plain_session, CORONAL, slice(54, 57))
    first, middle, last = dataset.record.images
    twice = DataSet(
        msgspec.structs.replace(dataset.record, images=(first, middle, middle, last)),
        plain_session,
    )
    one, two = dataset.volume(100, fill="linear"), twice.volume(100, fill="linear")
    assert np.isfinite(two.coverage).all()
    more = two.coverage > one.coverage + 1e-3
    assert more.any()
    assert two.coverage.sum() == pytest.approx(one.coverage.sum() * 4 / 3, rel=0.02)


def test_sections_without_masks_are_left_out(plain_session):
    dataset = part_of(plain_session, CORONAL, slice(60, 63))
    images = list(dataset.record.images)
    images[1] = msgspec.structs.replace(images[1], expression_path=None)
    some = DataSet(msgspec.structs.replace(dataset.record, images=tuple(images)), plain_session)
    [described] = some.volume(100, channel="expression").metadata["datasets"]
    assert described["skipped"] == {str(images[1].id): "it has no expression mask"}
    assert len(described["sections"]) == 2
    bare = tuple(msgspec.structs.replace(image, expression_path=None) for image in images)
    none = DataSet(msgspec.structs.replace(dataset.record, images=bare), plain_session)
    with pytest.raises(InvalidInputError, match="no section with an expression mask"):
        none.volume(100, channel="expression")


BAD = [
    ({"channel": "colour"}, "channel is 'colour'.*image, expression, intensity"),
    ({"fill": "cubic"}, "fill is 'cubic'.*none, nearest, linear"),
    ({"resolution": 0}, "resolution is 0, .*positive"),
    ({"resolution": -25}, "resolution is -25"),
    ({"resolution": float("nan")}, "resolution is nan"),
    ({"resolution": "25"}, "resolution is '25'"),
    ({"resolution": True}, "resolution is True"),
    ({"resolution": 9000}, "resolution is 9000 µm"),
    ({"resolution": 0.1}, "resolution is 0.1 µm"),
    ({"thickness": 0}, "thickness is 0, .*positive"),
    ({"thickness": float("inf")}, "thickness is inf"),
    ({"resolution": 1}, r"13200 × 8000 × 11400 voxels of 1 µm takes .* GB.* µm would fit"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_what_makes_no_sense_is_said_before_anything_is_asked(demo_records, options, message):
    class Silent:
        def __getattr__(self, name):
            raise AssertionError(f"the session was used: {name}")

    dataset = DataSet(demo_records[CORONAL], Silent())  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=message):
        dataset.volume(**{"resolution": 100, **options})


def test_data_sets_must_be_given_once_and_at_least_one(demo_records):
    with pytest.raises(InvalidInputError, match="no data set"):
        build_volume([])
    with pytest.raises(InvalidInputError, match="open_dataset"):
        build_volume([CORONAL])  # type: ignore[list-item]
    dataset = DataSet(demo_records[CORONAL], None)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="twice"):
        build_volume([dataset, dataset])


def test_a_volume_that_would_not_fit_names_one_that_would(demo_records, monkeypatch):
    monkeypatch.setattr("atldld.volume.build.available_memory", lambda: 200_000_000)
    dataset = DataSet(demo_records[CORONAL], None)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError) as caught:
        dataset.volume(25)
    # 528 · 320 · 456 voxels of 3 + 4 bytes
    assert "0.539 GB" in str(caught.value)
    assert "0.2 GB" in str(caught.value)
    assert "40 µm would fit" in str(caught.value)


def test_the_memory_that_is_free_is_known_here():
    free = available_memory()
    assert free is None or 1 << 20 < free < 1 << 50


def test_a_volume_is_described_shortly():
    nothing = np.zeros((2, 2, 2), np.float32)
    volume = Volume(nothing, nothing, 25.0, "image", (1,), "none", {})
    assert repr(volume) == "<Volume of image, 2 × 2 × 2 voxels of 25 µm>"


def test_what_is_saved_can_be_read(plain_session, tmp_path):
    volume = part_of(plain_session, CORONAL, slice(54, 56)).volume(200)
    volume.save(tmp_path / "a.npy", coverage=True)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), volume.data)
    np.testing.assert_array_equal(np.load(tmp_path / "a_coverage.npy"), volume.coverage)
    volume.save(tmp_path / "b.npy")
    assert not (tmp_path / "b_coverage.npy").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("tilted", [False, True])
def test_all_112_sections(plain_session, tilted_session, tilted):
    dataset = open_dataset(CORONAL, session=tilted_session if tilted else plain_session)
    [(colours, coverage)] = differences_from_truth(dataset, dataset.volume(25), number=6000)
    print(f"covered voxels at 25 µm: {colours:.2f} grey levels RMS, coverage {coverage:.3f}")
    at_25, _ = gain_of_linear(dataset, 25, number=8000)
    at_50, where_one_is_missing = gain_of_linear(dataset, 50, number=8000)
    assert colours <= LIMIT
    assert at_50 >= 3
    assert at_25 >= 3
    assert where_one_is_missing > 0.5
