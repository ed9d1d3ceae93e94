"""The procedural brain: a function of known truth and the pictures made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from atldld.demo import anatomy, render

PIXEL = 1.05  # um, as in genuine sections
SIZE = (3003, 2101)  # of pictures of the tilted plane, px: neither is a multiple of 16


def coronal(p: float) -> np.ndarray:
    return np.array([[0, 0, p], [0, PIXEL, 0], [PIXEL, 0, 0]], dtype=float)


def sagittal(r: float) -> np.ndarray:
    return np.array([[PIXEL, 0, 0], [0, PIXEL, 0], [0, 0, r]], dtype=float)


def tilted(scale: float = PIXEL) -> np.ndarray:
    """A coronal-like plane through thalamus and cortex, tilted and turned, with an offset."""
    a, b = np.radians(7.0), np.radians(-4.0)
    x = np.array([np.sin(b), 0.09, np.cos(b)])
    y = np.array([np.sin(a), np.cos(a), -0.09])
    return np.column_stack([scale * x, scale * y, [6800.0, 1300.0, 2300.0]])


def pixel_centres(
    matrix: np.ndarray, width: int, height: int, step: float, first: float = 0.0
) -> np.ndarray:
    """Reference coordinates at full-resolution coordinates first, first + step, ..."""
    x, y = np.meshgrid(np.arange(first, width, step), np.arange(first, height, step))
    points: np.ndarray = np.stack([x, y, np.ones_like(x)], axis=-1) @ matrix.T
    return points


def grid(step: float) -> np.ndarray:
    axes = [np.arange(step / 2, size, step) for size in (13200.0, 8000.0, 11400.0)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def halved(picture: np.ndarray) -> np.ndarray:
    rows, columns = picture.shape[0] // 2, picture.shape[1] // 2
    cut = picture[: 2 * rows, : 2 * columns].astype(float)
    means: np.ndarray = cut.reshape(rows, 2, columns, 2, 3).mean(axis=(1, 3))
    return means


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=float))))


def bare(matrix: np.ndarray, width: int, height: int, d: int, **kwargs: object) -> np.ndarray:
    options: dict[str, Any] = {"cells": False, "noise": False, "label": None} | kwargs
    return render.render(matrix, width, height, d, **options)


@pytest.fixture(scope="module")
def coarse() -> tuple[np.ndarray, np.ndarray]:
    """Points 100 um apart and their structures."""
    points = grid(100.0)
    return points, anatomy.structure_id(points)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """The tilted plane at all tiers, without cells, noise and label."""
    return [bare(tilted(), *SIZE, d) for d in range(9)]


class TestFunction:
    def test_types_and_shapes(self) -> None:
        points = np.full((2, 5, 3), (7000.0, 4000.0, 4500.0))
        assert anatomy.tissue(points).shape == (2, 5)
        assert anatomy.color(points).shape == (2, 5, 3)
        assert anatomy.expression(points[0, 0]).shape == ()
        assert anatomy.tissue(points).dtype == anatomy.color(points).dtype == np.float32
        assert anatomy.expression(points).dtype == np.float32
        assert anatomy.structure_id(points).dtype == np.uint32
        assert anatomy.color(np.empty((0, 3))).shape == (0, 3)

    def test_background_outside(self) -> None:
        rng = np.random.default_rng(0)
        points = rng.uniform(-20000, 40000, (20000, 3))
        box = ((points >= 0) & (points <= (13200, 8000, 11400))).all(axis=1)
        for outside in (points[~box], np.zeros((1, 3)), np.array([[500.0, 500.0, 500.0]])):
            assert np.allclose(anatomy.color(outside), anatomy.BACKGROUND, atol=0.5)
            assert not anatomy.structure_id(outside).any()
            assert anatomy.tissue(outside).max() < 0.01
            assert anatomy.expression(outside).max() < 0.01

    def test_range_leaves_room(self) -> None:
        points = pixel_centres(coronal(7000), 10857, 7619, 24)
        values = anatomy.color(points)
        assert values.min() > 30
        assert values.max() <= 247.01
        assert anatomy.expression(points).min() >= 0
        assert 0.8 < anatomy.expression(points).max() <= 1

    def test_mirror_symmetric_but_for_the_marker(
        self, coarse: tuple[np.ndarray, np.ndarray]
    ) -> None:
        points, ids = coarse
        points = points[::2, ::2]
        mirrored = points * (1, 1, -1) + (0, 0, 11400)
        difference = np.abs(anatomy.color(points) - anatomy.color(mirrored)).max(axis=-1)
        odd = points[difference > 2]
        left = odd[odd[:, 2] < 5700]
        assert len(odd) == 2 * len(left) > 0
        assert np.all(np.ptp(left, axis=0) <= (700, 600, 600))
        assert set(ids[ids != ids[..., ::-1]]) >= {60}

    def test_marker_is_dark_and_left_in_several_sections(self) -> None:
        for p in (5100.0, 5200.0, 5300.0, 5400.0, 5500.0):
            across = np.stack(
                np.broadcast_arrays(p, 4300.0, np.arange(2000.0, 9400.0, 10.0)), axis=-1
            )
            hit = across[anatomy.structure_id(across) == 60]
            assert 300 < np.ptp(hit[:, 2]) < 550
            assert hit[:, 2].max() < 5700
            inner = np.abs(hit[:, 2] - hit[:, 2].mean()) < 100
            other = hit[inner] * (1, 1, -1) + (0, 0, 11400)
            assert anatomy.color(hit[inner]).mean() + 30 < anatomy.color(other).mean()

    def test_every_leaf_occurs_and_nothing_else(
        self, coarse: tuple[np.ndarray, np.ndarray]
    ) -> None:
        parents = {s.parent_id for s in anatomy.STRUCTURES}
        leaves = {s.id for s in anatomy.STRUCTURES} - parents
        found = set(np.unique(coarse[1]).tolist())
        assert found == leaves | {0}

    def test_ontology_is_a_tree(self) -> None:
        seen: set[int | None] = {None}
        for structure in anatomy.STRUCTURES:
            assert structure.parent_id in seen
            assert structure.id not in seen
            assert len(bytes.fromhex(structure.color_hex)) == 3
            seen.add(structure.id)
        assert len({s.acronym for s in anatomy.STRUCTURES}) == len(anatomy.STRUCTURES)

    def test_size_of_a_mouse_brain(self, coarse: tuple[np.ndarray, np.ndarray]) -> None:
        inside = coarse[1] > 0
        assert 400 < inside.sum() * 1e-3 < 620  # cubic millimetres
        p, i, r = (np.ptp(np.flatnonzero(inside.any(axis=k))) for k in ((1, 2), (0, 2), (0, 1)))
        assert p > 120
        assert 65 < i < 80
        assert 95 < r < 114

    def test_expression_follows_regions(self, coarse: tuple[np.ndarray, np.ndarray]) -> None:
        points, ids = coarse
        mean = {
            k: anatomy.expression(points[ids == k]).mean() for k in (12, 14, 21, 22, 31, 34, 60)
        }
        assert mean[22] > mean[21] * 0.9 > 0.4
        assert mean[14] > 0.25
        assert mean[12] > 0.2
        assert mean[60] > 0.4
        assert max(mean[31], mean[34]) < 0.1

    @pytest.mark.parametrize(
        "matrix",
        [coronal(4500), coronal(7000), coronal(9500), coronal(11500), sagittal(3800), tilted()],
        ids=["cor4500", "cor7000", "cor9500", "cor11500", "sag3800", "tilted"],
    )
    def test_contrast_and_smoothness(self, matrix: np.ndarray) -> None:
        rng = np.random.default_rng(1)
        ones = np.ones(40000)
        pixels = np.stack([rng.uniform(0, 12000, 40000), rng.uniform(0, 7600, 40000), ones], axis=1)
        points = pixels @ matrix.T
        points = points[anatomy.tissue(points) > 0.5]

        def grey(x: float, y: float) -> np.ndarray:
            colors = anatomy.color(points + matrix[:, 0] * x + matrix[:, 1] * y)
            means: np.ndarray = colors.mean(axis=-1)
            return means

        here = grey(0, 0)
        # Enough that a quarter of a 25 um pixel makes more than 2 levels, though no clump is
        # smaller than 100 um.
        assert rms(grey(5, 0) - here) / (5 * PIXEL) >= 0.35
        assert rms(grey(0, 5) - here) / (5 * PIXEL) >= 0.35
        # Samples 16.8 um apart foretell by cubic interpolation what lies between.
        between = (9 * (grey(-8, 0) + grey(8, 0)) - grey(-24, 0) - grey(24, 0)) / 16
        assert rms(here - between) < 0.5

    def test_shift_of_a_quarter_atlas_voxel_shows(self) -> None:
        points = pixel_centres(coronal(7000), 11000, 7600, 16)
        inside = anatomy.tissue(points) > 0.5
        for step in ((0, 6.25, 0), (0, 0, 6.25)):
            change = anatomy.color(points + step) - anatomy.color(points)
            assert rms(change.mean(axis=-1)[inside]) > 2.2


class TestTiers:
    def test_shapes(self, pictures: list[np.ndarray]) -> None:
        width, height = SIZE
        for d, picture in enumerate(pictures):
            assert picture.shape == (height >> d, width >> d, 3)
            assert picture.dtype == np.uint8

    @pytest.mark.parametrize("d", range(1, 9))
    def test_tier_is_the_box_average_of_the_one_below(
        self, pictures: list[np.ndarray], d: int
    ) -> None:
        expected = halved(pictures[d - 1])
        rows, columns = pictures[d].shape[:2]
        assert rms(pictures[d] - expected[:rows, :columns]) <= 0.5

    @pytest.mark.parametrize("d", [0, 1, 2, 3, 4])
    def test_pixels_are_the_function_averaged(self, pictures: list[np.ndarray], d: int) -> None:
        # A window of tier pixels, each compared with the mean at the full-resolution centres.
        size = 1 << d
        n = max(16, 256 >> d)
        x0, y0 = 1008 >> d, 800 >> d
        x = np.arange(x0 * size, (x0 + n) * size)
        y = np.arange(y0 * size, (y0 + n) * size)
        points = np.stack([*np.meshgrid(x, y), np.ones((len(y), len(x)))], axis=-1) @ tilted().T
        inside = anatomy.tissue(points).reshape(n, size, n, size).mean(axis=(1, 3)) > 0.5
        true = anatomy.color(points).reshape(n, size, n, size, 3).mean(axis=(1, 3))
        shown = pictures[d][y0 : y0 + n, x0 : x0 + n]
        assert inside.mean() > 0.9
        assert rms((shown - true)[inside]) <= 0.7

    @pytest.mark.parametrize("axis", [0, 1])
    def test_quarter_pixel_is_noticed(self, pictures: list[np.ndarray], axis: int) -> None:
        shift = np.eye(3)
        shift[axis, 2] = 0.25 * 16  # a quarter of a tier-4 pixel
        moved = bare(tilted() @ shift, *SIZE, 4)
        assert rms(moved.astype(float) - pictures[4]) > 1.0
        assert rms(halved(pictures[3])[: len(moved), : moved.shape[1]] - moved) > 1.0

    @pytest.mark.parametrize("d", [0, 1])
    def test_half_pixel_is_noticed_at_fine_tiers(self, pictures: list[np.ndarray], d: int) -> None:
        # Half a full-resolution pixel changes little: the sign of the change tells.
        shift = np.eye(3)
        shift[0, 2] = 0.5 * (1 << d)
        points = pixel_centres(tilted() @ shift, 400, 400, 1 << d, ((1 << d) - 1) / 2)
        away = anatomy.color(points)
        here = anatomy.color(pixel_centres(tilted(), 400, 400, 1 << d, ((1 << d) - 1) / 2))
        shown = pictures[d][: here.shape[0], : here.shape[1]].astype(float)
        towards = np.sum((shown - here) * (away - here)) / np.sum((away - here) ** 2)
        assert abs(towards) < 0.1

    @pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 6])
    def test_cells_and_noise_are_consistent_too(self, d: int) -> None:
        fine, tier = (
            render.render(tilted(), 1600, 1200, k, label=None, seed=5) for k in (d - 1, d)
        )
        assert rms(tier - halved(fine)[: tier.shape[0], : tier.shape[1]]) < 1.0

    def test_borders_are_not_extrapolated(self) -> None:
        whole = bare(tilted(), 1600, 1200, 2)
        shift = np.eye(3)
        shift[0, 2], shift[1, 2] = 320, 160
        part = bare(tilted() @ shift, 640, 480, 2)
        assert np.abs(whole[40:160, 80:240].astype(int) - part).max() <= 1


class TestRender:
    def test_deterministic(self) -> None:
        first, again, other = (
            render.render(tilted(), 1200, 900, 1, seed=seed) for seed in (3, 3, 4)
        )
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_cells_darken_and_noise_is_mild(self) -> None:
        plain = bare(tilted(), 1200, 900, 0).astype(float)
        cells = bare(tilted(), 1200, 900, 0, cells=True).astype(float)
        noise = bare(tilted(), 1200, 900, 0, noise=True).astype(float)
        assert (cells <= plain + 1).all()
        assert (plain - cells).max() > 40
        assert 0.5 < rms(noise - plain) < 4
        assert abs((noise - plain).mean()) < 0.2

    @pytest.mark.parametrize("view", ["image", "expression"])
    @pytest.mark.parametrize("d", [4, 5])
    def test_label_only_outside_tissue(self, d: int, view: str) -> None:
        matrix, width, height = coronal(7000), 10857, 7619
        with_label = bare(matrix, width, height, d, label="SYNTHETIC", view=view)
        without = bare(matrix, width, height, d, view=view)
        touched = (with_label != without).any(axis=-1)
        centres = pixel_centres(matrix, width, height, 1 << d, ((1 << d) - 1) / 2)
        inside = anatomy.tissue(centres)[: touched.shape[0], : touched.shape[1]] > 0.01
        assert touched.sum() > 50
        assert not (touched & inside).any()

    def test_label_stays_in_place(self) -> None:
        boxes = []
        for d in (4, 6):
            pictures = [bare(sagittal(3000), 12571, 7619, d, label=x) for x in ("DEMO", None)]
            y, x = np.nonzero((pictures[0] != pictures[1]).any(axis=-1))
            boxes.append(np.array([x.min(), x.max(), y.min(), y.max()]) * 2.0**d)
        assert np.abs(boxes[0] - boxes[1]).max() < 150

    def test_no_label_where_tissue_fills_the_picture(self) -> None:
        shift = np.eye(3)
        shift[:2, 2] = 600
        options: dict[str, Any] = {"cells": False, "noise": False}
        inner = render.render(tilted() @ shift, 800, 600, 2, **options)
        assert np.array_equal(
            inner, render.render(tilted() @ shift, 800, 600, 2, label=None, **options)
        )

    @pytest.mark.parametrize("cells", [False, True])
    def test_expression_view(self, cells: bool) -> None:
        matrix, width, height = coronal(7000), 10857, 7619
        picture = render.render(
            matrix, width, height, 4, view="expression", cells=cells, label=None
        )
        assert picture.shape == (476, 678, 3)
        points = pixel_centres(matrix, width, height, 16, 7.5)[:476, :678]
        strength, tissue = anatomy.expression(points), anatomy.tissue(points)
        assert picture[tissue < 1e-4].max() <= 2
        assert np.all(picture[:10, :10] == 0)
        shown = picture.max(axis=-1)
        assert shown[strength > 0.3].mean() > (40 if cells else 120)
        assert np.median(shown[strength < 0.02]) == 0
        hot = strength > 0.85
        assert hot.any()
        assert picture[hot].mean(axis=0).argmax() == 0

    def test_background_colour(self) -> None:
        corner = bare(coronal(7000), 10857, 7619, 4)[:10, :10]
        assert np.all(corner == np.array(anatomy.BACKGROUND, dtype=np.uint8))

    def test_refuses_nonsense(self) -> None:
        with pytest.raises(ValueError, match="downsample"):
            render.render(tilted(), 100, 100, 9)
        with pytest.raises(ValueError, match="view"):
            render.render(tilted(), 100, 100, view="mask")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="none at tier"):
            render.render(tilted(), 100, 100, 8)
        with pytest.raises(ValueError, match="shape"):
            render.render(np.eye(4), 100, 100)
