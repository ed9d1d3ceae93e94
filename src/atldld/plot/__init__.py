"""Figures for papers, one call each; they need matplotlib: ``pip install 'atldld[plot]'``.

======================  ====================================================================
`section`               one section, with outlines, labels and a scale bar
`sections`              a row of sections at one scale
`expression`            the picture of a section, and its expression beside it
`regions`               how much is in each structure, grouped by what the structures lie in
`glass_brain`           a volume projected along the three axes, in the brain's outline
`planes`                where the sections of a data set lie in the brain
`save`                  write a figure as PDF, SVG or PNG, as journals want it
======================  ====================================================================

Each draws into the axes that it is given, or makes a figure of a journal's column width (85 mm, or
180 mm across two), and returns the figure. Lines and texts are vectors, pictures stay pictures.
People who are colour-blind can distinguish the colours too. Texts are sans-serif, 7 points. PDF
gets its fonts embedded as TrueType, SVG keeps text as text: figures that are made here do so by
their own ``savefig``, others by `save`.

`dataset_preview` is the figure of atldld 0.3.
"""

from atldld.compat.plot import REF_DIM_1UM, PlaneOfSection, dataset_preview
from atldld.plot.bars import regions
from atldld.plot.brains import glass_brain, planes
from atldld.plot.paper import PALETTE, STYLE, save
from atldld.plot.pictures import expression, section, sections

__all__ = [
    "PALETTE",
    "REF_DIM_1UM",
    "STYLE",
    "PlaneOfSection",
    "dataset_preview",
    "expression",
    "glass_brain",
    "planes",
    "regions",
    "save",
    "section",
    "sections",
]
