"""The reader with which napari opens what this package writes; see ``docs/napari.md``.

napari finds it through ``napari.yaml``. It is no dependency, and nothing here imports it.
"""
