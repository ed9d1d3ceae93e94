"""What users get wrong: both type checkers say so, on just these lines."""

import atldld

ds = atldld.open_dataset(69289763)
atlas = atldld.open_atlas(25)
section = ds.sections[0]

ds.volume(25, channel="expresion")  # wrong
ds.volume(25, fill="cubic")  # wrong
atldld.volume(69289763, 25, channel="mask")  # wrong
atldld.build_volume(ds, 25, "mask")  # wrong
ds.volume(25, chanel="expression")  # wrong
ds.refine(atlas, steps=["all"])  # wrong
ds.refine(atlas, steps="affine")  # wrong
ds.quantify("ccf")  # wrong
ds.quality(5)  # wrong
section.register(25, cut="slanted")  # wrong
section.register(25, downsample="best")  # wrong
ds.register(25, layout="old")  # wrong
section.outlines(atlas, hemisphere="up")  # wrong
section.outlines(atlas, structure="HPF")  # wrong
ds.download("out", picture_format="jpg")  # wrong
ds.export.fields("out", format="itk4")  # wrong
ds.export.outlines("out", atlas, format="pdf")  # wrong
ds.export.outlines("out", atlas, hemisphere="up")  # wrong
ds.export.quicknii("out.json", image_ending=".gif")  # wrong
ds.section(numbr=70)  # wrong
ds.sections["DG"]  # wrong
ds.at("DG", atlas)  # wrong
atldld.quantify(ds, atlas).row("DG", "top")  # wrong
atldld.quantify(ds, atlas).select(kinds="region")  # wrong
atldld.search("experiment", gene="Prox1")  # wrong
atldld.search(gene="Prox1", plane="horizontal")  # wrong
atldld.search(gene="Prox1", organism="rat")  # wrong
atldld.search(gene="Prox1", orientation="forward")  # wrong
atldld.fetch_grid(69289763, kinds="sum")  # wrong
atldld.open_dataset([69289763])  # wrong
atldld.report(ds)  # wrong
