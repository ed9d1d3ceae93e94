"""Markers of VisuAlign and WebWarp: exact both ways, and as PyNutil has them."""

import json
import pickle

import numpy as np
import pytest
from scipy.spatial import Delaunay

from atldld.errors import InvalidInputError
from atldld.place.deformation import Displacements, SplineDeformation
from atldld.place.markers import MOST_MARKERS, MarkerDeformation, fit_markers

SIZE = (1000, 700)
MARKERS = [
    [520, 210, 560, 190],
    [300, 420, 280, 450],
    [700, 500, 735, 470],
    [150, 150, 190, 140],
    [480, 600, 470, 640],
    [860, 260, 840, 300],
    [420, 330, 425, 260],
    [560, 330, 575, 390],
]
# What PyNutil 0.6.2 makes of pixels through these markers (`xy_to_coords`, on a plane along its
# axes): triangulated on the overlay, three of them would lie elsewhere, by up to 67 pixels.
PYNUTIL = {
    (100, 100): (72.41379310344828, 106.89655172413798),
    (560, 190): (520, 210),
    (400.5, 300.25): (400.11985216473073, 347.5295670538543),
    (650, 350): (643.2750689972402, 301.4075436982521),
    (820, 600): (804.0692334864005, 608.7813493465208),
    (500, 660): (508.4615384615383, 626.1538461538462),
    (990, 10): (986.1875945537067, 8.593040847201063),
    (-60, 340): (-65.51724137931035, 341.3793103448276),
    (1080, 750): (1078.7065740245862, 750.7910208444684),
    (240, 560): (253.5338345864661, 534.2481203007518),
    (480, 320): (471.93241816261866, 333.51636747624076),
    (500, 300): (486.524064171123, 313.957219251337),
    (450, 420): (450.0815418828762, 372.8984432913269),
}


def many(count=300, seed=1, move=3.0):
    """Markers that are far from folding."""
    rng = np.random.default_rng(seed)
    image = rng.uniform((-60, -40), (1060, 740), (20 * count, 2))
    kept: list[np.ndarray] = []
    for point in image:
        if len(kept) < count and all(np.abs(point - other).max() > 25 for other in kept):
            kept.append(point)
    there = np.array(kept)
    return np.concatenate((there + rng.uniform(-move, move, there.shape), there), axis=1)


@pytest.fixture(scope="module", params=["few", "many", "none"])
def bent(request):
    chosen = {"few": MARKERS, "many": many(), "none": []}[request.param]
    return MarkerDeformation.of(chosen, *SIZE)


def everywhere(count=20_000):
    return np.random.default_rng(7).uniform((-300, -250), (1300, 950), (count, 2))


def test_as_pynutil_has_them():
    bent = MarkerDeformation.of(MARKERS, *SIZE)
    np.testing.assert_allclose(
        bent.to_flat(list(PYNUTIL)), list(PYNUTIL.values()), rtol=0, atol=1e-9
    )


def test_each_way_is_the_others_inverse(bent):
    at = everywhere()
    np.testing.assert_allclose(bent.to_image(bent.to_flat(at)), at, rtol=0, atol=1e-9)
    np.testing.assert_allclose(bent.to_flat(bent.to_image(at)), at, rtol=0, atol=1e-9)


def test_markers_lead_where_they_say(bent):
    flat, image = bent.markers[:, :2], bent.markers[:, 2:]
    np.testing.assert_allclose(bent.to_flat(image), flat, atol=1e-9)
    np.testing.assert_allclose(bent.to_image(flat), image, atol=1e-9)
    # edges of triangles are straight on both sides
    first, second = bent.triangles[:, 0], bent.triangles[:, 1]
    middle = (bent.image[first] + bent.image[second]) / 2
    np.testing.assert_allclose(
        bent.to_flat(middle), (bent.flat[first] + bent.flat[second]) / 2, atol=1e-9
    )


def test_triangles_are_found_as_scipy_finds_them(bent):
    at = everywhere()
    triangulation = Delaunay(bent.image)
    there = triangulation.find_simplex(at)
    at, there = at[there >= 0], there[there >= 0]
    maps = triangulation.transform[there]
    weights = np.einsum("nij,nj->ni", maps[:, :2], at - maps[:, 2])
    weights = np.column_stack((weights, 1 - weights.sum(axis=1)))
    wanted = np.einsum("nk,nkj->nj", weights, bent.flat[triangulation.simplices[there]])
    np.testing.assert_allclose(bent.to_flat(at), wanted, rtol=0, atol=1e-7)


def test_beyond_the_outer_corners_nothing_moves(bent):
    at = np.array([[-100.001, 300], [1100.001, 300], [500, -70.001], [500, 770.001], [1e6, -1e6]])
    for way in (bent.to_flat, bent.to_image):
        np.testing.assert_array_equal(way(at), at)
    # and nothing jumps on the way there
    edge = np.array([[-100 + 1e-7, 300], [1100 - 1e-7, 300], [500, -70 + 1e-7], [500, 770 - 1e-7]])
    np.testing.assert_allclose(bent.to_flat(edge), edge, atol=1e-5)
    corners = bent.image[:4]
    np.testing.assert_allclose(bent.to_flat(corners), corners, atol=1e-9)


def test_shapes_are_kept(bent):
    at = everywhere(24).reshape(2, 3, 4, 2)
    assert bent.to_flat(at).shape == (2, 3, 4, 2)
    np.testing.assert_array_equal(bent.to_flat(at)[1, 2, 3], bent.to_flat(at[1, 2, 3]))
    assert bent.to_flat(np.empty((0, 2))).shape == (0, 2)
    with pytest.raises(InvalidInputError):
        bent.to_flat([[1.0, 2, 3]])
    with pytest.raises(InvalidInputError):
        bent.to_image([[1.0, np.nan]])


def test_scaled_and_kept(bent):
    larger = bent.scaled((8.0, 8.01), -0.5)
    at = everywhere(500)
    wanted = bent.to_flat(at) * (8.0, 8.01) - 0.5
    np.testing.assert_allclose(larger.to_flat(at * (8.0, 8.01) - 0.5), wanted, atol=1e-8)
    np.testing.assert_allclose(larger.jacobian, bent.jacobian, rtol=1e-9)
    again = pickle.loads(pickle.dumps(larger))
    np.testing.assert_array_equal(again.to_image(at), larger.to_image(at))


def test_figures():
    bent = MarkerDeformation.of([[500, 350, 500, 280]], *SIZE)
    # the four triangles meet at the marker: the upper one grows from 350 to 420 of height
    assert bent.jacobian == pytest.approx((420 / 490, 420 / 350))
    assert bent.greatest == 70


def test_markers_at_one_place():
    """The first counts, as in PyNutil."""
    once = MarkerDeformation.of(MARKERS, *SIZE)
    again = MarkerDeformation.of([*MARKERS, MARKERS[0], [530, 220, 560, 190]], *SIZE)
    np.testing.assert_array_equal(again.markers, once.markers)


@pytest.mark.parametrize(
    ("markers", "says"),
    [
        ([[300, 300, 600, 310], [600, 300, 300, 320]], "fold the section in 2 of 6 triangles"),
        # out of the box on the overlay only: the margin folds
        ([[-150, 300, 50, 300]], "fold the section"),
        # three markers that end on one line
        ([[400, 300, 400, 300], [500, 300, 500, 300], [450, 300, 450, 500]], "fold the section"),
        ([[5, 5, -101, 300]], "1 of 1 markers lie more than a tenth"),
        ([[5, 5, 100, 771]], "beyond its edges"),
        ([[1, 2, 3]], "four finite numbers"),
        ([[1, 2, 3, np.nan]], "four finite numbers"),
        ([["a", 2, 3, 4]], "four finite numbers"),
    ],
)
def test_markers_that_are_none(markers, says):
    with pytest.raises(InvalidInputError, match=says):
        MarkerDeformation.of(markers, *SIZE)


def test_triangles_with_a_gap():
    whole = MarkerDeformation.of(MARKERS, *SIZE)
    with pytest.raises(InvalidInputError, match="do not fill"):
        MarkerDeformation(whole.image, whole.flat, whole.triangles[1:]).check()


def test_genuine_markers_are_one_to_one(shared):
    """Three sections that somebody bent in WebWarp."""
    document = json.loads((shared / "markers" / "79591351.waln").read_text())
    for section in document["sections"]:
        bent = MarkerDeformation.of(section["markers"], section["width"], section["height"])
        least, greatest = bent.jacobian
        print(section["filename"], len(section["markers"]), least, greatest, bent.greatest)
        assert 0.4 < least < greatest < 2.5
        size = np.array([section["width"], section["height"]])
        at = np.random.default_rng(1).uniform(-0.2, 1.2, (5000, 2)) * size
        np.testing.assert_allclose(bent.to_image(bent.to_flat(at)), at, atol=1e-8)


class TestFitting:
    EXTENT = (8000, 6000)
    SCALE = np.array([[0.0, 0.1], [0.2, 1.0], [1.05, 0.0]])  # µm of the reference per pixel

    def spline(self, amount=250.0, waves=1.0):
        y, x = np.indices((63, 83), dtype=np.float64)
        vectors = np.stack((np.sin(x * waves / 9 + y / 15), np.cos(y * waves / 11)), axis=-1)
        grid = Displacements((-100.0, -100.0), (100.0, 100.0), vectors * amount)
        return SplineDeformation.of(grid)

    def away(self, markers, deformation):
        """How far they lead elsewhere, in µm, at places that were not looked at."""
        bent = MarkerDeformation.of(markers + 0.5, *self.EXTENT).scaled((1, 1), -0.5)
        inner = np.random.default_rng(9).uniform((0, 0), self.EXTENT, (100_000, 2)) - 0.5
        off = bent.to_flat(inner) - deformation.to_flat(inner)
        return np.linalg.norm(off @ self.SCALE.T, axis=1).max()

    @pytest.mark.parametrize("tolerance", [50, 20])
    def test_a_spline_is_reproduced(self, tolerance):
        spline = self.spline()
        found = fit_markers(spline, self.EXTENT, self.SCALE, tolerance=tolerance)
        assert found.deviation <= tolerance
        assert not found.folds
        assert 13 < len(found.markers) <= MOST_MARKERS
        assert self.away(found.markers, spline) < 1.2 * found.deviation

    def test_no_three_lie_on_one_line(self):
        """PyNutil 0.6.2 leaves out a marker on the line between two others, such as on an edge."""
        found = fit_markers(self.spline(), self.EXTENT, self.SCALE, tolerance=30)
        for side in (2, 3):
            assert len(np.unique(found.markers[:, side].round(6))) == len(found.markers)
        # and the edges are reproduced all the same
        along = np.linspace(0, 1, 500)[:, None]
        for first, second in (
            ((0, 0), (1, 0)),
            ((0, 1), (1, 1)),
            ((0, 0), (0, 1)),
            ((1, 0), (1, 1)),
        ):
            edge = ((1 - along) * first + along * second) * self.EXTENT - 0.5
            bent = MarkerDeformation.of(found.markers + 0.5, *self.EXTENT).scaled((1, 1), -0.5)
            off = (bent.to_flat(edge) - self.spline().to_flat(edge)) @ self.SCALE.T
            assert np.linalg.norm(off, axis=1).max() < 1.2 * found.deviation

    def test_finer_takes_more(self):
        counts = [
            len(fit_markers(self.spline(), self.EXTENT, self.SCALE, tolerance=by).markers)
            for by in (100, 40)
        ]
        assert counts[0] < 0.7 * counts[1]

    def test_no_more_than_there_may_be(self):
        """Then the tolerance is raised, and what is reached is told."""
        spline = self.spline(waves=2.0, amount=150.0)
        found = fit_markers(spline, self.EXTENT, self.SCALE, tolerance=3, most=150)
        assert len(found.markers) <= 150
        assert found.deviation > 3
        assert self.away(found.markers, spline) < 1.2 * found.deviation

    def test_markers_stay_what_they_are(self):
        given = MarkerDeformation.of(many() * 8 * (1, 6 / 7, 1, 6 / 7), *self.EXTENT).scaled(
            (1, 1), -0.5
        )
        found = fit_markers(given, self.EXTENT, self.SCALE, tolerance=20)
        np.testing.assert_allclose(found.markers, given.markers, rtol=0, atol=1e-9)
        assert found.deviation < 1e-6

    def test_what_does_not_move_takes_few(self):
        still = SplineDeformation.of(
            Displacements((0.0, 0.0), (500.0, 500.0), np.zeros((13, 17, 2), np.float32))
        )
        found = fit_markers(still, self.EXTENT, self.SCALE, tolerance=20)
        assert len(found.markers) == 13
        assert found.deviation < 1e-9
