"""Where sections lie, found anew and never made worse: registrations.

`model` says what sections look like where the atlas says what is there, `fit` moves them, `steps`
guards each step, and `engine` does all of it for a data set.
"""

from atldld.refine.engine import check_refinement, refine
from atldld.refine.steps import STEPS

__all__ = ["STEPS", "check_refinement", "refine"]
