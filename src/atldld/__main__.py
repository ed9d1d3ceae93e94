"""``python -m atldld`` is the `atldld` command."""

from atldld.cli import main

if __name__ == "__main__":
    main()
