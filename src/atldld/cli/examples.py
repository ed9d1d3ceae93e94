"""One example of each command, which its help shows; they run on the demo archive, too.

They run one after another: some take what an earlier one has written.
"""

from __future__ import annotations

__all__ = ["EXAMPLES"]

EXAMPLES = {
    "search dataset": "atldld search dataset -g Prox1 -p sagittal",
    "search image": "atldld search image -d 69289763 --limit 5",
    "search gene": "atldld search gene prodynorphin",
    "search specimen": "atldld search specimen 05-2716",
    "search structure": "atldld search structure dentate",
    "search neighbours": "atldld search neighbours 71717084",
    "catalogue update": "atldld catalogue update",
    "catalogue info": "atldld catalogue info",
    "catalogue export": "atldld catalogue export -o catalogue.zip",
    "catalogue import": "atldld catalogue import catalogue.zip",
    "dataset info": "atldld dataset info 69289763",
    "dataset preview": "atldld dataset preview 69289763 -o pictures",
    "download dataset": "atldld download dataset 69289763 prox1 --resolution 100",
    "download datasets": "atldld download datasets 69289763 71717084 genes --resolution 200",
    "download image": "atldld download image 69177654 pictures --downsample-img 4",
    "cache info": "atldld cache info",
    "cache list": "atldld cache list",
    "cache verify": "atldld cache verify --repair",
    "cache prune": "atldld cache prune --older-than 90d",
    "cache export": "atldld cache export prox1.zip --datasets 69289763",
    "cache import": "atldld cache import prox1.zip",
    "serve": "atldld serve cache --port 0",
    "sync image-to-reference": """\
printf 'image_id,x,y\\n69177654,5000,3000\\n' |
  atldld sync image-to-reference -""",
    "sync reference-to-image": """\
printf 'p_um,i_um,r_um\\n7000,3000,3300\\n' |
  atldld sync reference-to-image - -d 69289763""",
    "sync image-to-image": """\
printf 'image_id,x,y\\n69177654,5000,3000\\n' |
  atldld sync image-to-image - -d 71717084""",
    "sync image-to-image-2d": """\
printf 'image_id,x,y\\n69177654,5000,3000\\n' |
  atldld sync image-to-image-2d - -i 69177656""",
    "sync image-to-atlas": """\
printf 'image_id,x,y\\n69177654,5000,3000\\n' |
  atldld sync image-to-atlas -""",
    "sync structure-to-image": """\
printf 'structure_id\\n22\\n' |
  atldld sync structure-to-image - -d 69289763""",
    "volume": "atldld volume 69289763 -o prox1.nii.gz --resolution 100",
    "atlas list": "atldld atlas list",
    "atlas fetch": "atldld atlas fetch annotation --resolution 100",
    "atlas outlines": "atldld atlas outlines 69289763 -o outlines --image 69177654",
    "atlas plates": "atldld atlas plates -o plates --downsample-img 3",
    "quantify": "atldld quantify 69289763 --structure HPF",
    "grid": "atldld grid 69289763 --regions",
    "quality": "atldld quality 69289763",
    "refine": "atldld refine 69289763 -o prox1.json --resolution 100",
    "align": "atldld align 69289763 --alignment prox1.json -o by-hand.json",
    "report": "atldld report 69289763 -o prox1.html --alignment prox1.json",
    "export quicknii": "atldld export quicknii 69289763 -o quicknii.json",
    "export fields": "atldld export fields 69289763 fields --resolution 100",
    "export sections": "atldld export sections 69289763 sections --resolution 100",
    "doctor": "atldld doctor",
    "demo": "atldld demo",
    "info version": "atldld info version",
    "info cache": "atldld info cache",
    "completion": 'eval "$(atldld completion bash)"',
}
"""Lines for a shell, by command; of more than 78 characters none."""
