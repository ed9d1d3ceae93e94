import numpy as np

from atldld.warp.background import background_of


def slide(colour=(247, 240, 235), size=(300, 400)):
    rng = np.random.default_rng(0)
    image = np.empty((*size, 3))
    image[:] = colour
    return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def test_the_slide_not_the_corner():
    image = slide()
    image[:40, :40] = (30, 20, 60)  # dust in the corner
    image[:, 380:] = (150, 100, 160)  # tissue at one edge
    np.testing.assert_allclose(background_of(image), (247, 240, 235), atol=2)


def test_tissue_all_over_one_side():
    image = slide()
    image[:, :120] = (120, 80, 140)
    np.testing.assert_allclose(background_of(image), (247, 240, 235), atol=2)


def test_dark_field():
    image = slide((4, 4, 6))
    image[100:200, 100:200] = 250
    np.testing.assert_allclose(background_of(image), (4, 4, 6), atol=2)


def test_tiny_images():
    assert background_of(np.full((1, 1, 3), 9, dtype=np.uint8)) == (9, 9, 9)


def test_the_real_section(shared):
    from atldld.fetch.jpeg import decode

    image = decode(shared / "images" / "69177654_downsample2.jpg")
    background = background_of(image)
    assert min(background) > 235
    assert max(background) - min(background) < 12


def test_the_frame_is_a_fiftieth_of_the_shorter_side_on_every_side():
    for side in range(4):
        image = np.full((100, 150, 3), 90, dtype=np.uint8)
        image[2:-2, 2:-2] = 200  # not looked at
        assert background_of(np.rot90(image, side)) == (90, 90, 90)
    # each side counts: three quarters of the frame are one colour, whichever those are
    for left_out in (np.s_[:2], np.s_[-2:], np.s_[:, :2], np.s_[:, -2:]):
        image = np.full((100, 100, 3), 200, dtype=np.uint8)
        for part in (np.s_[:2], np.s_[-2:], np.s_[:, :2], np.s_[:, -2:]):
            image[part] = 90
        image[left_out] = 40
        assert background_of(image) == (90, 90, 90)


def test_what_is_up_to_eight_levels_off_takes_part():
    """The commonest level is in the middle of its bin of four: 200 to 203 count as 202."""
    image = np.zeros((100, 100, 3), dtype=np.uint8)
    image[:] = 200
    image[:, ::2] = (210, 210, 210)  # as common, but spread over no neighbouring level
    image[::3] = 200
    red, green, blue = background_of(image)
    assert red == green == blue == 200
    image[image == 210] = 211  # 9 off: nothing of it
    assert background_of(image) == (200, 200, 200)


def test_large_images_are_sampled_not_lost():
    image = np.full((2000, 2100, 3), 250, dtype=np.uint8)
    image[200:1800, 200:1900] = 100
    assert background_of(image) == (250, 250, 250)


def test_counting_gives_what_the_histogram_and_the_medians_of_numpy_give():
    rng = np.random.default_rng(7)
    for _ in range(50):
        shape = (*rng.integers(1, 40, 2), 3)
        low = rng.integers(0, 250)
        image = rng.integers(low, rng.integers(low + 1, 257), shape).astype(np.uint8)
        # sides so small that the frame is one pixel wide
        sides = image[:1], image[-1:], image[:, :1], image[:, -1:]
        frame = np.concatenate([side.reshape(-1, 3) for side in sides])
        grey = frame.mean(axis=1)
        counts, edges = np.histogram(grey, bins=64, range=(0, 256))
        centre = edges[np.argmax(np.convolve(counts, [1, 2, 1], mode="same"))] + 2
        expected = np.median(frame[np.abs(grey - centre) <= 8], axis=0)
        assert background_of(image) == tuple(expected)
