"""Registrations corrected and confirmed by hand, in the browser.

`state` is what is edited, `journal` how it is kept, `edits` what can be done with it, `desk` one
data set with all that, `app` the web service around a desk, and `access` who may ask it. The page
itself is in ``page/``.
"""
