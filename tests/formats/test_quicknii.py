"""Anchoring vectors: out, back, and beside planes that people placed."""

import csv
import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from atldld.api import DataSet, open_dataset
from atldld.errors import AlignmentFileWarning, CurveLeftOutWarning, InvalidInputError
from atldld.formats import write_quicknii
from atldld.formats.quicknii import anchors_of
from atldld.place.alignment import read_alignment as read_any
from atldld.place.anchoring import TARGET, Alignment, anchoring_of, forward_of
from atldld.place.coordinates import coordinates_of
from atldld.place.deformation import Deformation, Displacements, SplineDeformation
from atldld.place.markers import MarkerDeformation
from atldld.place.sections import PlacedDataSet

PAGE = 909


def read_alignment(path):
    alignment = read_any(path)
    assert isinstance(alignment, Alignment)
    return alignment


@pytest.fixture(scope="module")
def coronal(demo_records):
    return DataSet(demo_records[71717084], session=None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def sagittal(demo_records):
    return DataSet(demo_records[69289763], session=None)  # type: ignore[arg-type]


@pytest.fixture
def written(coronal, tmp_path):
    return write_quicknii(coronal, tmp_path / "allen.json", downsample=3)


def change(path, **changes):
    """Rewrite a file with other values at its top, or of its first slice under ``first``."""
    document = json.loads(path.read_text())
    document["slices"][0].update(changes.pop("first", {}))
    document.update(changes)
    path.write_text(json.dumps(document))
    return path


def to_pir(point):
    """The definition of the target's axes, as the data's README gives it."""
    x, y, z = point
    return np.array([25 * (528 - y), 25 * (320 - z), 25 * x])


class TestAnchoring:
    def test_its_corners_are_the_images_corners(self, coronal):
        section = coronal.sections[50]
        width, height = section.image.width, section.image.height
        o, u, v = anchoring_of(section.placement.forward, width, height).reshape(3, 3)
        for point, corner in {
            (-0.5, -0.5): o,
            (width - 0.5, -0.5): o + u,
            (-0.5, height - 0.5): o + v,
            ((width - 1) / 2, (height - 1) / 2): o + u / 2 + v / 2,
        }.items():
            assert np.allclose(to_pir(corner), section.to_reference(point), atol=1e-6)

    def test_directions_are_anatomical(self, coronal, sagittal):
        """On a coronal image right is +x and down is −z; on a sagittal one right is −y."""
        o, u, v = anchoring_of(coronal.sections[50].placement.forward, 9000, 6000).reshape(3, 3)
        assert np.argmax(np.abs(u)) == 0
        assert u[0] > 0
        assert np.argmax(np.abs(v)) == 2
        assert v[2] < 0
        assert 0 < o[1] < 528
        o, u, v = anchoring_of(sagittal.sections[8].placement.forward, 9000, 6000).reshape(3, 3)
        assert np.argmax(np.abs(u)) == 1
        assert np.argmax(np.abs(v)) == 2

    def test_there_and_back(self, coronal):
        for section in coronal.sections[::20]:
            forward = section.placement.forward
            again = forward_of(anchoring_of(forward, 777, 555), 777, 555)
            assert np.allclose(again, forward, rtol=1e-12, atol=1e-9)

    @pytest.mark.parametrize(
        "anchoring",
        [
            [1] * 8,
            [np.nan] * 9,
            ["a"] * 9,
            [1, 2, 3, 0, 0, 0, 0, 0, 1],
            [1, 2, 3, 1, 1, 0, 2, 2, 0],
        ],
    )
    def test_no_plane(self, anchoring):
        with pytest.raises(InvalidInputError):
            forward_of(anchoring, 10, 10)


def test_planes_that_people_placed_lie_where_allen_does(shared):
    """Data set 100048576: hand-corrected planes in CCFv3. A wrong axis or sign is off by mm."""
    record = json.loads((shared / "nissl" / "100048576.json").read_text())
    tvr, thickness = np.array(record["tvr"]), record["section_thickness_um"]
    offsets, angles, scales = [], [], []
    for section in record["sections"]:
        to_volume = np.zeros((4, 3))
        to_volume[:2] = section["tsv"]
        to_volume[2, 2] = section["section_number"] * thickness
        to_volume[3, 2] = 1
        forward = tvr @ to_volume
        # the people's image has 10 µm pixels; the section's own are of 1.047 µm
        factor = record["human_pixel_um"] / 1.047
        width = section["human_width_px"] * factor
        height = section["human_height_px"] * factor
        ours = anchoring_of(forward, width, height).reshape(3, 3)
        theirs = np.reshape(section["human_anchoring"], (3, 3))
        middle = [a[0] + a[1] / 2 + a[2] / 2 for a in (ours, theirs)]
        offsets.append(middle[0] - middle[1])
        for one, other in zip(ours[1:], theirs[1:], strict=True):
            sizes = np.linalg.norm(one), np.linalg.norm(other)
            angles.append(np.degrees(np.arccos(one @ other / np.prod(sizes))))
            scales.append(sizes[0] / sizes[1])
    distances = np.abs(offsets) * 25
    print("median distance along (r, p, i) in µm:", np.median(distances, axis=0).round())
    assert len(distances) == 255
    assert (np.median(distances, axis=0) < 250).all()
    assert np.median(angles) < 5
    assert np.percentile(angles, 95) < 12
    assert np.median(scales) == pytest.approx(1, abs=0.1)


class TestWriting:
    def test_what_quicknii_reads(self, coronal, written):
        document = json.loads(written.read_text())
        assert document["target"] == "ABA_Mouse_CCFv3_2017_25um.cutlas"
        assert document["target-resolution"] == [456, 528, 320]
        assert len(document["slices"]) == len(coronal.sections) == 112
        for one, section in zip(document["slices"], coronal.sections, strict=True):
            assert one["filename"] == f"{section.id}_s{section.number:03d}.jpg"
            assert one["nr"] == section.number
            assert (one["width"], one["height"]) == section.image.size(3)
            assert len(one["anchoring"]) == 9

    def test_a_tier_covers_what_it_averages(self, coronal, tmp_path):
        """Tier 5 leaves off up to 31 pixels at the far edges, and u and v say so."""
        path = write_quicknii(coronal, tmp_path / "a.json", downsample=5, image_ending=".png")
        for one, section in zip(
            json.loads(path.read_text())["slices"], coronal.sections, strict=True
        ):
            o, u, v = np.reshape(one["anchoring"], (3, 3))
            # the centre of the tier's pixel (3, 2): image coordinate 32·u + 31/2
            there = o + (3 + 0.5) / one["width"] * u + (2 + 0.5) / one["height"] * v
            assert np.allclose(to_pir(there), section.to_reference((111.5, 79.5)), atol=1e-6)

    def test_the_flat_table(self, coronal, written, tmp_path):
        path = write_quicknii(coronal, tmp_path / "allen.csv", downsample=3)
        rows = list(csv.DictReader(path.read_text().splitlines()))
        one = json.loads(written.read_text())["slices"][4]
        assert list(rows[0])[:4] == ["Filenames", "ox", "oy", "oz"]
        numbers = [float(rows[4][f"{vector}{axis}"]) for vector in "ouv" for axis in "xyz"]
        assert numbers == one["anchoring"]
        assert (rows[4]["Filenames"], int(rows[4]["nr"])) == (one["filename"], one["nr"])

    @pytest.mark.parametrize(
        ("name", "options"),
        [("a.xml", {}), ("a.json", {"image_ending": ".tif"}), ("a.json", {"downsample": 15})],
    )
    def test_what_makes_no_sense(self, coronal, tmp_path, name, options):
        with pytest.raises(InvalidInputError):
            write_quicknii(coronal, tmp_path / name, **options)
        assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def curved(coronal):
    """Four sections, two of which a spline bends and one of which markers do."""
    record = msgspec.structs.replace(coronal.record, images=coronal.record.images[40:44])
    plain = DataSet(record, session=None)  # type: ignore[arg-type]
    y, x = np.indices((70, 100), dtype=np.float64)
    waves = np.stack((np.sin(x / 9 + y / 15), np.cos(y / 11)), axis=-1)
    section = plain.sections[2]
    width, height = (size << 3 for size in section.image.size(3))
    markers = [[3000, 2500, 3100, 2450], [5000, 3000, 4800, 3100]]
    bends: dict[int, Deformation] = {
        0: SplineDeformation.of(Displacements((-100.0, -100.0), (100.0, 100.0), waves * 200)),
        1: SplineDeformation.of(Displacements((-100.0, -100.0), (100.0, 100.0), waves * -90)),
        2: MarkerDeformation.of(markers, width, height).scaled((1, 1), -0.5),
    }
    placed = {
        plain.sections[k].id: replace(plain.sections[k].placement, deformation=bend)
        for k, bend in bends.items()
    }
    return PlacedDataSet.with_placements(record, placed)


class TestMarkersOut:
    @pytest.mark.parametrize("downsample", [0, 3])
    def test_they_lead_where_the_displacements_do(self, curved, tmp_path, downsample):
        """Read back, no place of the picture lies farther off than the file says."""
        path = write_quicknii(curved, tmp_path / "a.json", downsample=downsample, tolerance=30)
        again = PlacedDataSet.of(curved.record, read_alignment(path))
        slices = json.loads(path.read_text())["slices"]
        for one, ours, theirs in zip(slices, curved.sections, again.sections, strict=True):
            width, height = (size << downsample for size in ours.image.size(downsample))
            at = np.random.default_rng(4).uniform(0, 1, (40_000, 2)) * (width, height) - 0.5
            off = np.linalg.norm(theirs.to_reference(at) - ours.to_reference(at), axis=1).max()
            if ours.placement.deformation is None:
                assert "markers" not in one
                assert "atldld" not in one
                assert off < 1e-6
            else:
                told = one["atldld"]["greatest_deviation_um"]
                assert off <= 1.2 * told + 1e-6
                assert told <= 30
        kinds = [len(one.get("markers", ())) for one in slices]
        assert kinds[0] > kinds[1] > 13
        assert kinds[2:] == [2, 0]

    def test_markers_come_back_as_they_were(self, curved, tmp_path):
        path = write_quicknii(curved, tmp_path / "a.json", downsample=3)
        first = json.loads(path.read_text())["slices"][2]
        assert np.allclose(
            first["markers"], np.array([[3000, 2500, 3100, 2450], [5000, 3000, 4800, 3100]]) / 8
        )
        assert first["atldld"]["greatest_deviation_um"] < 1e-6
        again = PlacedDataSet.of(curved.record, read_alignment(path))
        twice = json.loads(write_quicknii(again, tmp_path / "b.json", downsample=3).read_text())[
            "slices"
        ]
        for one, other in zip(json.loads(path.read_text())["slices"], twice, strict=True):
            assert np.allclose(one.get("markers", []), other.get("markers", []), atol=1e-9)

    def test_what_is_told(self, curved):
        loose, tight = (anchors_of(curved, downsample=3, tolerance=by) for by in (200, 20))
        assert tight.deviation is not None
        assert loose.deviation is not None
        assert tight.deviation <= 20 < loose.deviation <= 200
        assert loose.markers < tight.markers
        assert loose.folded == tight.folded == []
        assert tight.deviation == max(
            one["atldld"]["greatest_deviation_um"] for one in tight.slices if "atldld" in one
        )
        with pytest.raises(InvalidInputError, match="tolerance of markers is 0"):
            anchors_of(curved, tolerance=0)

    def test_a_table_has_no_place_for_them(self, curved, tmp_path):
        with pytest.warns(CurveLeftOutWarning, match="no place for markers"):
            write_quicknii(curved, tmp_path / "a.csv", downsample=3)

    def test_planes_alone_are_written_as_before(self, coronal, written):
        assert "markers" not in written.read_text()
        assert anchors_of(coronal, downsample=3).deviation is None


class TestReading:
    def test_unchanged_it_is_allens_alignment(self, coronal, sagittal, tmp_path):
        for dataset in (coronal, sagittal):
            path = write_quicknii(dataset, tmp_path / "a.json", downsample=2, force=True)
            again = DataSet(dataset.record, None, read_alignment(path))  # type: ignore[arg-type]
            for one, other in zip(again.sections, dataset.sections, strict=True):
                assert one.alignment == "a.json"
                corners = [(0, 0), (one.image.width, one.image.height)]
                assert np.allclose(
                    one.to_reference(corners), other.to_reference(corners), atol=1e-6
                )
                # the stored way back has six digits; ours is the inverse: they differ by that
                pir = other.to_reference(corners) + np.array([30, -20, 10])
                assert np.allclose(one.to_image(pir), other.to_image(pir), atol=0.1)
                there, theirs = (section.placement.section_numbers(pir) for section in (one, other))
                assert np.allclose(there, theirs, atol=1e-2)

    def test_there_and_back_closes(self, coronal, written):
        again = DataSet(coronal.record, None, read_alignment(written))  # type: ignore[arg-type]
        points = np.random.default_rng(5).random((50, 2)) * 8000
        for section in again.sections[::10]:
            pir = section.to_reference(points)
            assert np.allclose(section.to_image(pir), points, atol=1e-7)
            assert np.allclose(section.placement.section_numbers(pir), section.number, atol=1e-9)
            # one thickness further along the volume's third axis lies the next section
            assert again.record.alignment3d is not None
            step = again.record.alignment3d.to_reference[:, 2] * section.thickness
            moved = section.placement.section_numbers(pir + step)
            assert np.allclose(moved, section.number + 1, atol=1e-9)
            assert np.allclose(section.to_image(pir + step), points, atol=1e-7)

    def test_a_refined_plane_is_used_everywhere(self, session, tmp_path):
        """A shift of 40 voxels to the right moves the picture by 1 mm, and nothing else."""
        plain = open_dataset(PAGE, session=session)
        path = write_quicknii(plain, tmp_path / "refined.json", downsample=3)
        document = json.loads(path.read_text())
        for one in document["slices"]:
            one["anchoring"][0] += 40
        path.write_text(json.dumps(document))
        refined = open_dataset(PAGE, session=session, alignment=path)
        before, after = (
            dataset.sections[6].register(resolution=100, downsample=3).image
            for dataset in (plain, refined)
        )
        assert np.abs(after[:, 10:].astype(int) - before[:, :-10]).max() <= 1
        assert np.abs(after.astype(int) - before).max() > 100

    def test_deepslice_without_sizes(self, coronal, written):
        document = json.loads(written.read_text())
        whole = write_quicknii(coronal, written.with_name("whole.json"))
        for one, other in zip(
            document["slices"], json.loads(whole.read_text())["slices"], strict=True
        ):
            one |= {"width": -999, "height": -999, "anchoring": other["anchoring"]}
        written.write_text(json.dumps(document))
        placed = read_alignment(written).placements(coronal.record)
        section = coronal.sections[9]
        assert np.allclose(placed[section.id].forward, section.placement.forward, atol=1e-9)

    def test_resized_images(self, coronal, written):
        """Someone's images of 1000 pixels across: the whole image, rounded."""
        document = json.loads(written.read_text())
        whole = json.loads(write_quicknii(coronal, written.with_name("w.json")).read_text())
        for one, other in zip(document["slices"], whole["slices"], strict=True):
            height = round(other["height"] * 1000 / other["width"])
            one |= {"width": 1000, "height": height, "anchoring": other["anchoring"]}
        written.write_text(json.dumps(document))
        placed = read_alignment(written).placements(coronal.record)
        section = coronal.sections[9]
        assert np.allclose(placed[section.id].forward, section.placement.forward, atol=1e-9)

    @pytest.mark.parametrize(
        "name", ["{}.png", "{}_s070.tif", "{}-3.jpg", "C:\\brain\\{}.jpg", "x/{}.flat"]
    )
    def test_names(self, coronal, written, name):
        image_id = coronal.sections[0].id
        change(written, first={"filename": name.format(image_id)})
        assert image_id in read_alignment(written).anchored

    def test_markers_bend_the_section(self, coronal, written):
        """In the pixels of the picture that the file is for, counted from its corner."""
        section = coronal.sections[0]
        width, height = section.image.size(3)
        at = np.array([[0.5, 0.4], [0.3, 0.6]]) * (width, height)
        there = at + np.array([[20.0, -12.0], [-9.0, 4.0]])
        change(written, first={"markers": np.hstack((there, at)).tolist()})
        alignment = read_alignment(written)
        assert (alignment.file.markers, alignment.file.markers_ignored) == (2, 0)
        assert alignment.file.aligner is not None
        assert alignment.file.aligner.endswith(", markers of VisuAlign")
        again = DataSet(coronal.record, None, alignment)  # type: ignore[arg-type]
        # the picture's pixel (x, y) from its corner is (8x − ½, 8y − ½) of full resolution
        np.testing.assert_allclose(
            again.sections[0].to_reference(8 * at - 0.5),
            section.to_reference(8 * there - 0.5),
            atol=1e-6,
        )
        pir = section.to_reference(np.random.default_rng(3).uniform(0, 7000, (200, 2)))
        back = again.sections[0].to_reference(again.sections[0].to_image(pir))
        np.testing.assert_allclose(back, pir, atol=1e-6)
        assert again.sections[1].placement.deformation is None
        # the outer corners lie a tenth beyond the picture, in which nothing moves
        far = np.array([[-0.101 * width, 50], [width * 1.101, 50], [50, -0.101 * height]]) * 8 - 0.5
        np.testing.assert_allclose(
            again.sections[0].to_reference(far), section.to_reference(far), atol=1e-6
        )

    def test_markers_in_a_resized_picture(self, coronal, written):
        """They lie in shares of the picture, whatever its size."""
        whole = json.loads(write_quicknii(coronal, written.with_name("w.json")).read_text())
        first = whole["slices"][0]
        height = round(first["height"] * 1000 / first["width"])
        marker = [600.0, 200.0, 620.0, 190.0]
        first |= {"width": 1000, "height": height, "markers": [marker]}
        written.write_text(json.dumps(whole))
        image = coronal.sections[0].image
        placed = read_alignment(written).placements(coronal.record)[image.id]
        scale = np.array([image.width / 1000, image.height / height])
        assert placed.deformation is not None
        there = placed.deformation.to_flat(np.array([620, 190]) * scale - 0.5)
        np.testing.assert_allclose(there, np.array([600, 200]) * scale - 0.5, atol=1e-9)

    @pytest.mark.parametrize(
        ("first", "says"),
        [
            ({"markers": [[300, 300, 600, 310], [600, 300, 300, 320]]}, "fold the section"),
            ({"markers": [[1, 2, -900, 4]]}, "beyond its edges"),
            ({"markers": [[1, 2, 3, 4]], "width": -999, "height": -999}, "not tell the size"),
        ],
    )
    def test_markers_that_fold_are_told_and_not_used(self, coronal, written, first, says):
        plain = coronal.sections[0]
        change(written, first=first)
        with pytest.warns(AlignmentFileWarning, match=rf"image {plain.id} \(section .*{says}"):
            alignment = read_alignment(written)
        assert (alignment.file.markers, alignment.file.markers_ignored) == (
            0,
            len(first["markers"]),
        )
        again = type(alignment.file).from_description(alignment.file.describe())
        assert again == alignment.file
        assert alignment.placements(coronal.record)[plain.id].deformation is None

    @pytest.mark.parametrize(
        "markers", [5, [5], [[1, 2, 3]], [[1, 2, 3, "4"]], [[1, 2, 3, float("nan")]], [[[]] * 4]]
    )
    def test_markers_that_are_none(self, written, markers):
        change(written, first={"markers": markers})
        with pytest.raises(InvalidInputError, match="not four numbers each"):
            read_alignment(written)

    @pytest.mark.parametrize("ending", [".waln", ".json"])
    def test_webwarps_files(self, coronal, written, ending):
        """Named by the data set and the section number, with planes and markers of their own."""
        document = json.loads(written.read_text())
        sections = []
        for k, one in enumerate(document["slices"]):
            name = f"{coronal.id}_s{one['nr']:03d}.jpg.dzip"
            markers = [[300.0, 300.0, 310.0 + k / 10, 305.0]]
            sections.append(
                {
                    "filename": name,
                    "width": one["width"],
                    "height": one["height"],
                    "snr": k,
                    "ouv": one["anchoring"],
                    "markers": markers,
                    "wwdone": True,
                }
            )
        path = written.with_name("web" + ending)
        path.write_text(json.dumps({"atlas": "ABA_Mouse_CCFv3_2017_25um", "sections": sections}))
        alignment = read_alignment(path)
        assert alignment.file.describe() | {"sha256": ""} == {
            "file": path.name,
            "sha256": "",
            "coordinates": coordinates_of("ccf_2017"),
            "target": "ABA_Mouse_CCFv3_2017_25um",
            "aligner": "WebAlign, markers of WebWarp",
            "images": 112,
            "markers": 112,
            "markers_ignored": 0,
        }
        again = DataSet(coronal.record, None, alignment)  # type: ignore[arg-type]
        for k, section in enumerate(coronal.sections):
            found = again.section(section.id).to_reference(
                (8 * (310 + k / 10) - 0.5, 8 * 305 - 0.5)
            )
            np.testing.assert_allclose(found, section.to_reference((2399.5, 2399.5)), atol=1e-6)
        # one section alone is named so, too
        path.write_text(
            json.dumps({"atlas": "ABA_Mouse_CCFv3_2017_25um", "sections": sections[4:5]})
        )
        with pytest.warns(AlignmentFileWarning, match="1 of the 112 images"):
            placed = read_alignment(path).placements(coronal.record)
        assert list(placed) == [coronal.sections[4].id]

    def test_webwarps_files_that_do_not_fit(self, coronal, sagittal, written):
        document = json.loads(written.read_text())
        slices = document["slices"]
        for one in slices:
            one["filename"] = f"{coronal.id}_s{one['nr']:03d}.jpg"
        written.write_text(json.dumps(document))
        alignment = read_alignment(written)
        with pytest.raises(InvalidInputError, match="not section data set"):
            alignment.placements(sagittal.record)
        slices[3]["filename"] = f"{coronal.id}_s999.jpg"
        written.write_text(json.dumps(document))
        with pytest.raises(InvalidInputError, match=r"anchors section 999, of which .* no images"):
            read_alignment(written).placements(coronal.record)
        slices[3]["filename"] = f"{coronal.sections[0].id}.jpg"
        written.write_text(json.dumps(document))
        with pytest.raises(InvalidInputError, match="more than once: by its id, and as section"):
            read_alignment(written).placements(coronal.record)
        slices[3]["filename"] = slices[4]["filename"]
        written.write_text(json.dumps(document))
        with pytest.raises(InvalidInputError, match="more than once"):
            read_alignment(written)

    def test_a_genuine_file_of_webwarp(self, shared):
        alignment = read_alignment(shared / "markers" / "79591351.waln")
        told = alignment.file.describe()
        assert (told["images"], told["markers"], told["markers_ignored"]) == (3, 28, 0)
        assert told["aligner"] == "WebAlign, markers of WebWarp"
        assert list(alignment.numbered[79591351]) == [68, 228, 332]

    def test_a_workspace_of_visualign(self, coronal, written):
        document = json.loads(written.read_text())
        sections = [
            {"ouv" if k == "anchoring" else k: v for k, v in one.items()}
            for one in document["slices"]
        ]
        path = written.with_suffix(".waln")
        path.write_text(json.dumps({"atlas": "ABA_Mouse_CCFv3_2017_25um", "sections": sections}))
        assert read_alignment(path).anchored == read_alignment(written).anchored

    def test_what_is_not_anchored_stays_allens(self, coronal, written):
        document = json.loads(written.read_text())
        for one in document["slices"][5:]:
            del one["anchoring"]
        document["slices"][0]["anchoring"][0] += 4
        written.write_text(json.dumps(document))
        alignment = read_alignment(written)
        with pytest.warns(AlignmentFileWarning, match="5 of the 112 images"):
            again = DataSet(coronal.record, None, alignment)  # type: ignore[arg-type]
        assert [section.alignment for section in again.sections[4:6]] == ["allen.json", None]
        moved = again.sections[0].to_reference((0, 0)) - coronal.sections[0].to_reference((0, 0))
        assert np.allclose(moved, [0, 0, 100])
        same = again.sections[5].placement.forward
        assert np.array_equal(same, coronal.sections[5].placement.forward)

    def test_a_section_without_allens_alignment_is_placed(self, coronal, written):
        images = list(coronal.record.images)
        images[3] = msgspec.structs.replace(images[3], alignment2d=None)
        record = msgspec.structs.replace(coronal.record, images=tuple(images))
        again = DataSet(record, None, read_alignment(written))  # type: ignore[arg-type]
        assert again.section(images[3].id).alignment == "allen.json"
        assert not again.skipped


class TestRefusing:
    def test_images_of_another_data_set(self, sagittal, written):
        with pytest.raises(InvalidInputError, match="does not have, such as"):
            DataSet(sagittal.record, None, read_alignment(written))  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "changes",
        [
            {"target": "WHS_SD_rat_atlas_v4.cutlas"},
            {"target": "ABA_Mouse_CCFv3_2017_10um.cutlas"},
            {"target": "DeMBA_P56_25um.cutlas"},
            {"target": "ABA_Mouse_CCFv3_2017_125um.cutlas"},
            {"target": None},
            {"target-resolution": [512, 1024, 512]},
        ],
    )
    def test_another_atlas(self, written, changes):
        change(written, **changes)
        with pytest.raises(InvalidInputError, match=f"must be for {TARGET}"):
            read_alignment(written)

    @pytest.mark.parametrize("name", ["brain_s001.jpg", "", None, 7])
    def test_names_without_an_id(self, written, name):
        change(written, first={"filename": name})
        with pytest.raises(InvalidInputError, match="begin with the id"):
            read_alignment(written)

    @pytest.mark.parametrize(
        "first",
        [{"anchoring": [1, 2, 3]}, {"anchoring": ["x"] * 9}, {"anchoring": [float("nan")] * 9}],
    )
    def test_anchorings_that_are_none(self, written, first):
        change(written, first=first)
        with pytest.raises(InvalidInputError, match="not nine numbers"):
            read_alignment(written)

    @pytest.mark.parametrize(
        ("first", "sentence"),
        [
            ({"width": 500, "height": 900}, "another shape"),
            ({"anchoring": [1, 2, 3, 4, 0, 0, 8, 0, 0]}, "span a plane"),
            # a sagittal plane among coronal sections
            ({"anchoring": [200, 500, 300, 0, -400, 0, 0, 0, -300]}, "follow one another"),
        ],
    )
    def test_planes_that_cannot_be(self, coronal, written, first, sentence):
        # the sections' own step is tilted: take it out, so that the plane contains it
        if sentence == "follow one another":
            step = coronal.record.alignment3d.to_reference[:, 2]
            first = {"anchoring": [200, 500, 300, step[2], -step[0], -step[1], 0, 0, -300]}
        change(written, first=first)
        with pytest.raises(InvalidInputError, match=sentence):
            DataSet(coronal.record, None, read_alignment(written))  # type: ignore[arg-type]

    def test_an_image_twice(self, written):
        document = json.loads(written.read_text())
        document["slices"].append(document["slices"][0])
        written.write_text(json.dumps(document))
        with pytest.raises(InvalidInputError, match="more than once"):
            read_alignment(written)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"slices": 5}', '{"slices": [5]}', "\xff"])
    def test_files_of_something_else(self, tmp_path, text):
        (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(InvalidInputError, match="Expected is a JSON of QuickNII"):
            read_alignment(tmp_path / "x.json")

    def test_nothing_anchored_and_nothing_there(self, tmp_path):
        empty = {"target": TARGET, "slices": [{"filename": "1.jpg"}]}
        (tmp_path / "x.json").write_text(json.dumps(empty))
        with pytest.raises(InvalidInputError, match="anchors no image"):
            read_alignment(tmp_path / "x.json")
        with pytest.raises(InvalidInputError, match="cannot be read: No such file"):
            read_alignment(tmp_path / "y.json")


def test_an_alignment_is_a_value(written):
    alignment = read_alignment(written)
    assert alignment == read_alignment(written)
    assert replace(alignment, file=replace(alignment.file, name="b")) != alignment
    assert alignment.file.describe()["images"] == 112
