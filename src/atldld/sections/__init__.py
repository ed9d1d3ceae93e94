"""Sections registered to the reference space, one by one or as a folder."""
