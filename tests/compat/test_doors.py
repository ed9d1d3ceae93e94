"""The import paths, arguments and results of atldld 0.3, on the local service."""

import importlib
import inspect

import numpy as np
import pytest

import atldld.base
import atldld.config
import atldld.constants
import atldld.dataset
import atldld.plot
import atldld.requests
import atldld.sync
import atldld.utils
from atldld.errors import AtldldError, InvalidInputError, NotFoundError, RMAError
from atldld.place import Placement

PAGE_IMAGE = 101321610
PROX1, PDYN = 69289763, 71717084


@pytest.mark.usefixtures("at_demo_server")
class TestPage:
    """The page that the project starts from, as printed."""

    def test_image(self):
        from atldld.utils import get_image

        img = get_image(101321610)
        assert img.shape == (2656, 2856, 3)
        assert img.dtype == np.uint8

    def test_downloader(self):
        from atldld.utils import get_image

        img = get_image(101321610)

        from atldld.sync import DatasetDownloader

        downloader = DatasetDownloader(909, downsample_ref=25)
        data_gen = downloader.run()
        image_id, p, img, img_expression, df = next(iter(data_gen))
        img_reg = df.warp(img)

        numbers = [image["section_number"] for image in downloader.metadata["images"]]
        assert image_id == downloader.metadata["images"][0]["id"]
        assert numbers == sorted(numbers, reverse=True)
        assert isinstance(p, float)
        assert img_expression is None
        assert img.shape == (2656, 2856, 3)
        assert img_reg.shape == (320, 456, 3)
        assert len(downloader) == 14


@pytest.mark.usefixtures("at_demo_server")
class TestUtils:
    def test_matrices(self, demo_records):
        dataset = demo_records[PDYN]
        image = dataset.images[3]
        tsv = atldld.utils.get_2d(image.id)
        assert tsv.shape == (2, 3)
        np.testing.assert_array_equal(tsv, image.alignment2d.to_volume)
        tvs = atldld.utils.get_2d(image.id, ref2inp=True, add_last=True)
        np.testing.assert_array_equal(tvs, [*image.alignment2d.to_image, [0, 0, 1]])
        tvr, space, thickness = atldld.utils.get_3d(PDYN, add_last=True, return_meta=True)
        np.testing.assert_array_equal(tvr, [*dataset.alignment3d.to_reference, [0, 0, 0, 1]])
        assert (space, thickness) == (9, 25.0)
        trv = atldld.utils.get_3d(PDYN, ref2inp=True)
        np.testing.assert_array_equal(trv, dataset.alignment3d.to_volume)
        bulk = atldld.utils.get_2d_bulk(PDYN)
        assert len(bulk) == 112
        np.testing.assert_array_equal(bulk[image.id][0], tsv)
        assert bulk[image.id][1] == image.section_number

    def test_single_points(self, demo_records):
        dataset = demo_records[PROX1]
        image = dataset.image(69177654)
        p, i, r = atldld.utils.xy_to_pir_API_single(6384, 2744, 69177654)
        np.testing.assert_allclose((p, i, r), (8052, 2890, 3346), atol=0.7)
        x, y, number, image_id = atldld.utils.pir_to_xy_API_single(p, i, r, PROX1, 10)
        np.testing.assert_allclose((x, y), (6384, 2744), atol=0.1)
        assert (number, image_id) == (70, 69177654)
        mirrored = atldld.utils.pir_to_xy_API_single(p, i, 11400 - r, PROX1, reference_space=9)
        np.testing.assert_allclose(mirrored[:2], (x, y), atol=1e-6)
        corners = atldld.utils.get_corners_in_ref_space(image.id, image.width, image.height)
        geometry = Placement.of(dataset, image).geometry(
            image.width, image.height, atldld.Plane.SAGITTAL
        )
        np.testing.assert_array_equal(corners, geometry.corners)

    def test_the_same_as_the_services_own_calls(self, at_demo_server):
        """The local service answers over HTTP what the local formulas give."""
        url = f"{at_demo_server}/api/v2/image_to_reference/69177654.json?x=100&y=200"
        answer = atldld.utils.abi_get_request(url)["image_to_reference"]
        local = atldld.utils.xy_to_pir_API_single(100, 200, 69177654)
        np.testing.assert_allclose([answer[axis] for axis in "xyz"], local, atol=1e-9)
        url = (
            "http://api.brain-map.org/api/v2/reference_to_image/10.json"
            f"?x=8000&y=2900&z=3000&section_data_set_ids={PROX1}"
        )
        (answer,) = atldld.utils.abi_get_request(url)
        sync = answer["image_sync"]
        x, y, number, image_id = atldld.utils.pir_to_xy_API_single(8000, 2900, 3000, PROX1, 10)
        np.testing.assert_allclose((sync["x"], sync["y"]), (x, y), atol=1e-9)
        assert (sync["section_number"], sync["section_image_id"]) == (number, image_id)

    def test_common_queries(self):
        assert atldld.utils.CommonQueries.get_reference_space(PROX1) == 10
        assert atldld.utils.CommonQueries.get_axis(PROX1) == "sagittal"
        assert atldld.utils.CommonQueries.get_axis(PDYN) == "coronal"

    def test_gene(self):
        assert atldld.utils.get_experiment_list_from_gene("Prox1") == [PROX1]
        assert atldld.utils.get_experiment_list_from_gene("Prox1", "coronal") == []
        assert atldld.utils.get_experiment_list_from_gene("Pdyn", axis="coronal") == [PDYN]

    def test_get_image_with_a_folder(self, tmp_path):
        image = atldld.utils.get_image(PAGE_IMAGE, tmp_path / "f", downsample=3)
        mask = atldld.utils.get_image(PAGE_IMAGE, str(tmp_path / "f"), True, 3)
        assert image.shape == mask.shape == (332, 357, 3)
        names = {path.name for path in (tmp_path / "f").iterdir()}
        assert names == {f"{PAGE_IMAGE}-3.jpg", f"{PAGE_IMAGE}-3-expression.jpg"}
        (tmp_path / "f" / f"{PAGE_IMAGE}-3.jpg").write_bytes(b"broken")
        again = atldld.utils.get_image(PAGE_IMAGE, tmp_path / "f", downsample=3)
        np.testing.assert_array_equal(again, image)

    def test_errors(self):
        with pytest.raises(NotFoundError, match="5"):
            atldld.utils.get_image(5)
        with pytest.raises(InvalidInputError, match="tiers"):
            atldld.utils.get_image(PAGE_IMAGE, downsample=9)
        with pytest.raises(NotFoundError):
            atldld.utils.get_3d(5)
        with pytest.raises(InvalidInputError, match="web address"):
            atldld.utils.abi_get_request("file:///etc/passwd")


@pytest.mark.usefixtures("at_demo_server")
class TestDownloader:
    def test_metadata(self, demo_records):
        downloader = atldld.sync.DatasetDownloader(PROX1)
        assert len(downloader) == 18
        dataset, images = downloader.metadata["dataset"], downloader.metadata["images"]
        assert set(dataset) == {
            "id",
            "affine_tvr",
            "affine_trv",
            "plane_of_section_id",
            "section_thickness",
        }
        assert set(images[0]) == {"id", "affine_tsv", "affine_tvs", "section_number"}
        assert dataset["affine_tvr"].shape == (3, 4)
        assert [image["section_number"] for image in images[:2]] == [158, 150]
        downloader.fetch_metadata(force_redownload=True)
        assert len(downloader) == 18

    def test_tuples(self):
        downloader = atldld.sync.DatasetDownloader(
            909, 100, detection_xy=(500, 600), include_expression=True, downsample_img=3
        )
        results = list(downloader.run())
        assert len(results) == 14
        for (image_id, p, img, expression, df), image in zip(
            results, downloader.metadata["images"], strict=True
        ):
            assert image_id == image["id"]
            s = image["section_number"] * downloader.metadata["dataset"]["section_thickness"]
            pir = atldld.sync.xy_to_pir(
                [[500], [600], [s]],
                image["affine_tsv"],
                downloader.metadata["dataset"]["affine_tvr"],
            )
            assert p == pytest.approx(pir[0, 0])
            assert expression is not None
            assert img.shape == expression.shape == (332, 357, 3)
            assert df.shape == (80, 114)
            assert df.warp(expression).shape == (80, 114, 3)

    def test_functions(self):
        four = next(atldld.sync.download_dataset(909, 100, downsample_img=4))
        assert len(four) == 4
        assert isinstance(four[3], atldld.base.DisplacementField)
        five = next(
            atldld.sync.download_parallel_dataset(
                909, 100, include_expression=True, downsample_img=4
            )
        )
        assert five[4].shape == five[2].shape

    def test_not_found(self):
        with pytest.raises(atldld.sync.DatasetNotFoundError, match="5"):
            next(atldld.sync.DatasetDownloader(5).run())


class TestSync:
    def test_the_formulas(self, demo_records):
        rng = np.random.default_rng(0)
        for dataset in demo_records.values():
            image = dataset.images[2]
            placement = Placement.of(dataset, image)
            s = image.section_number * dataset.section_thickness
            xy = rng.uniform(0, 9000, (2, 50))
            pir = atldld.sync.xy_to_pir(
                np.vstack((xy, np.full(50, s))),
                image.alignment2d.to_volume,
                dataset.alignment3d.to_reference,
            )
            assert pir.shape == (3, 50)
            np.testing.assert_allclose(pir.T, placement.to_reference(xy.T), atol=1e-8)
            back = atldld.sync.pir_to_xy(
                pir, image.alignment2d.to_image, dataset.alignment3d.to_volume
            )
            np.testing.assert_allclose(back[:2].T, placement.to_image(pir.T), atol=1e-8)
            np.testing.assert_allclose(back[2], s, atol=0.2)

    @pytest.mark.parametrize(
        ("axis", "shape"),
        [("coronal", (80, 114)), ("sagittal", (132, 80)), ("transverse", (132, 114))],
    )
    def test_parallel_transform(self, demo_records, axis, shape):
        """0.3's grid: pixel k stands for k · downsample_ref, tier pixels for 2^d times theirs."""
        dataset = demo_records[PDYN]
        image = dataset.images[50]
        tvs, trv = image.alignment2d.to_image, dataset.alignment3d.to_volume
        df = atldld.sync.get_parallel_transform(
            6000, tvs, trv, axis, downsample_ref=100, downsample_img=2
        )
        assert df.shape == shape
        rows, columns = (index.ravel() * 100.0 for index in np.indices(shape))
        depth = np.full(rows.size, 6000.0)
        points = {
            "coronal": (depth, rows, columns),
            "sagittal": (rows, columns, depth),
            "transverse": (rows, depth, columns),
        }[axis]
        x, y, _ = atldld.sync.pir_to_xy(np.stack(points), tvs, trv)
        f_x, f_y = df.transformation
        np.testing.assert_allclose(f_x.ravel(), x / 4, atol=2e-3)
        np.testing.assert_allclose(f_y.ravel(), y / 4, atol=2e-3)

    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("xy_to_pir", ([[1, 2]], np.eye(3), np.eye(4))),
            ("xy_to_pir", (np.zeros((3, 2)), np.eye(2), np.eye(4))),
            ("pir_to_xy", (np.full((3, 2), np.nan), np.eye(3), np.eye(4))),
            ("get_parallel_transform", (1, np.eye(3), np.eye(4), "oblique")),
            ("get_parallel_transform", (1, np.eye(3), np.eye(4), "coronal", 0)),
        ],
    )
    def test_bad_input(self, name, arguments):
        with pytest.raises(InvalidInputError):
            getattr(atldld.sync, name)(*arguments)


class TestBase:
    def test_affine(self):
        matrix = np.array([[1.1, 0.2, 3], [-0.1, 0.9, -4], [0, 0, 1]])
        delta_x, delta_y = atldld.base.affine((5, 7), matrix)
        assert delta_x.shape == delta_y.shape == (5, 7)
        x, y, _ = matrix @ [6, 4, 1]
        assert delta_x[4, 6] + 6 == pytest.approx(x)
        assert delta_y[4, 6] + 4 == pytest.approx(y)
        with pytest.raises(ValueError, match="3, 3"):
            atldld.base.affine((5, 7), matrix[:2])

    def test_affine_simple_turns_about_the_middle(self):
        delta_x, delta_y = atldld.base.affine_simple((5, 7), rotation=0.3, scale_x=2, shear=0.1)
        assert abs(delta_x[2, 3]) < 1e-12
        assert abs(delta_y[2, 3]) < 1e-12
        plain_x, plain_y = atldld.base.affine_simple((5, 7), rotation=0.3, apply_centering=False)
        assert plain_x[0, 0] == plain_y[0, 0] == 0
        assert plain_x[0, 1] + 1 == pytest.approx(np.cos(0.3))
        assert plain_y[0, 1] == pytest.approx(np.sin(0.3))
        moved_x, moved_y = atldld.base.affine_simple((5, 7), translation_x=2, translation_y=-1)
        np.testing.assert_allclose(moved_x, 2)
        np.testing.assert_allclose(moved_y, -1)


@pytest.mark.usefixtures("at_demo_server")
class TestRequests:
    def test_one_page(self):
        parameters = atldld.requests.RMAParameters(
            "SectionImage", criteria={"data_set_id": PDYN}, start_row=100, num_rows=50
        )
        status, msg = atldld.requests.rma(parameters)
        assert status["success"]
        assert (status["start_row"], status["num_rows"], status["total_rows"]) == (100, 12, 112)
        assert len(msg) == 12

    def test_all(self):
        parameters = atldld.requests.RMAParameters(
            "SectionImage", {"data_set_id": PDYN}, ["alignment2d"]
        )
        rows = atldld.requests.rma_all(parameters)
        assert len({row["id"] for row in rows}) == 112
        assert "tsv_00" in rows[0]["alignment2d"]

    def test_refusal(self):
        with pytest.raises(RMAError, match="NoSuchModel"):
            atldld.requests.rma(atldld.requests.RMAParameters("NoSuchModel"))


def test_enums():
    plane = atldld.dataset.PlaneOfSection
    space = atldld.dataset.ReferenceSpace
    assert (plane(1), str(plane.SAGITTAL)) == (plane.CORONAL, "sagittal")
    assert (space(9), space.P56_LR_FLIPPED.value) == (space.P56, 10)
    assert str(space(10)) == "P56 Brain, L/R Flipped"


def test_constants():
    assert atldld.constants.REF_DIM_1UM == (13200, 8000, 11400)
    assert atldld.constants.REF_DIM_25UM == (528, 320, 456)
    assert atldld.constants.AFFINE_TEMPLATES["tvr"][1] == ["tvr_03", "tvr_04", "tvr_05", "tvr_10"]
    assert atldld.constants.AFFINE_TEMPLATES["tsv"][1] == ["tsv_02", "tsv_03", "tsv_05"]


def test_user_cache_dir(monkeypatch, tmp_path):
    monkeypatch.delenv("ATLDLD_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert atldld.config.user_cache_dir(create=False) == tmp_path / "atldld"
    assert not (tmp_path / "atldld").exists()
    assert atldld.config.user_cache_dir().is_dir()


@pytest.mark.parametrize("plane", ["coronal", "sagittal", atldld.dataset.PlaneOfSection.CORONAL])
def test_dataset_preview(plane, tmp_path):
    corners = [np.array([[p, 0, 0], [p, 0, 9e3], [p, 7e3, 9e3], [p, 7e3, 0]]) for p in (1e3, 5e3)]
    figure = atldld.plot.dataset_preview(corners, plane)
    figure.savefig(tmp_path / "f.png")
    assert len(figure.axes) >= 3
    assert atldld.plot.dataset_preview([], plane) is not None


def test_dataset_preview_of_other_planes():
    with pytest.raises(AtldldError, match="variable"):
        atldld.plot.dataset_preview([], atldld.dataset.PlaneOfSection.VARIABLE)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (atldld.utils.get_image, "image_id folder=None expression=False downsample=0"),
        (atldld.utils.get_experiment_list_from_gene, "gene_name axis='sagittal'"),
        (atldld.utils.get_2d, "image_id ref2inp=False add_last=False"),
        (atldld.utils.get_2d_bulk, "dataset_id ref2inp=False add_last=False"),
        (atldld.utils.get_3d, "dataset_id ref2inp=False add_last=False return_meta=False"),
        (atldld.utils.pir_to_xy_API_single, "p i r dataset_id reference_space=9"),
        (atldld.utils.xy_to_pir_API_single, "x y image_id"),
        (atldld.utils.get_corners_in_ref_space, "image_id image_width image_height"),
        (atldld.utils.abi_get_request, "url"),
        (atldld.sync.xy_to_pir, "coords_img affine_2d affine_3d"),
        (atldld.sync.pir_to_xy, "coords_ref affine_2d affine_3d"),
        (
            atldld.sync.get_parallel_transform,
            "slice_coordinate affine_2d affine_3d axis='coronal' downsample_ref=1 downsample_img=0",
        ),
        (
            atldld.sync.DatasetDownloader,
            "dataset_id downsample_ref=25 detection_xy=(0, 0) include_expression=False "
            "downsample_img=0",
        ),
        (
            atldld.sync.download_parallel_dataset,
            "dataset_id downsample_ref=25 detection_xy=(0, 0) include_expression=False "
            "downsample_img=0",
        ),
        (atldld.base.DisplacementField, "delta_x delta_y"),
        (
            atldld.base.DisplacementField.warp,
            "self img interpolation='linear' border_mode='constant' c=0",
        ),
        (
            atldld.base.affine_simple,
            "shape scale_x=1 scale_y=1 rotation=0 translation_x=0 translation_y=0 shear=0 "
            "apply_centering=True",
        ),
        (atldld.config.user_cache_dir, "create=True"),
        (atldld.plot.dataset_preview, "all_corners plane_of_section"),
    ],
)
def test_signatures(function, arguments):
    parameters = inspect.signature(function).parameters.values()
    found = " ".join(
        p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters
    )
    assert found == arguments


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("sync", "AFFINE_TEMPLATES DisplacementField RMAParameters get_image rma_all"),
        ("utils", "user_cache_dir"),
        ("plot", "PlaneOfSection REF_DIM_1UM"),
    ],
)
def test_names_that_scripts_take_from_a_neighbour(module, names):
    """Kind: 0.3's modules imported from one another, and scripts took names from the nearest.

    The comparison with the published package (``-m peer``) asks for the whole list.
    """
    door = importlib.import_module(f"atldld.{module}")
    for name in names.split():
        assert hasattr(door, name)
        assert name in door.__all__
