"""A small script as users write it: both type checkers find nothing wrong with it."""

from pathlib import Path

import atldld

found = atldld.search(gene="Prox1", plane="sagittal", organism="mouse", orientation="antisense")
ds = atldld.open_dataset(found.ids[0], offline=True, cache_dir="cache", api_url="http://host")
atlas = atldld.open_atlas(25)

first: atldld.Section = ds.sections[0]
few: atldld.Sections = ds.sections[2:5]
numbers: list[int] = few.numbers
section: atldld.Section = ds.section(number=70)
near: atldld.Sections = ds.sections_near("DG", atlas, within=0)
spot: atldld.Spot = ds.at((8050, 2850, 3350))
distance: float = spot.distance

registered = section.register(25, cut="parallel", downsample="auto", layout="0.3")
height: int = registered.image.shape[0]
section.outlines(atlas, structures=["HPF"], hemisphere="each")

volume: atldld.Volume = ds.volume(25, channel="expression", fill="linear", progress=False)
same: atldld.Volume = atldld.volume(69289763, 25, channel="intensity")
written: list[Path] = volume.save("volume.nii.gz")

regions: atldld.RegionTable = atldld.quantify(ds, "auto")
left = regions.row("DG", "left")["density"]
half = regions.select(hemispheres=["left", "right"], kinds="structure")
quality: atldld.DatasetQuality = ds.quality(None)
registration = ds.refine(atlas, steps=["whole", "sections"])
page: Path = atldld.report(69289763, "report.html", volume=False)
summary = ds.download("out", picture_format="tiff", expression=True)
ds.export.fields("fields", format="zarr")
ds.export.quicknii("planes.json", image_ending=".png")
ds.export.outlines("outlines", atlas, format="geojson", frame="reference", depth=3)
grid = atldld.fetch_grid(ds.id, kinds=["energy", "density"])
energy = grid.to_xarray("energy")
