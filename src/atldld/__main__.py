"""``python -m atldld`` is the `atldld` command."""

from atldld.cli import main

main()
