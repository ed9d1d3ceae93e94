"""Sections laid into one grid of voxels."""
