"""Where sections lie, found anew and never made worse: registrations.

`model` says what sections look like where the atlas says what is there. `whole`, `planes` and
`inplane` move them, `guard` judges whether that has made them better, `steps` is the order of all
that, and `engine` does it for a data set.
"""

from atldld.refine.engine import check_refinement, refine
from atldld.refine.steps import STEPS, Step

__all__ = ["STEPS", "Step", "check_refinement", "refine"]
