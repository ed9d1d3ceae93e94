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
