"""Numbers of structures: tables, what masks say of each, Allen's grids."""
