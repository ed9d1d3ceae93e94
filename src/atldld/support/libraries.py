"""Libraries that only some uses need: imported when used, or named with what installs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from atldld.errors import AtldldError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["data_frame_of", "need"]


def need(module: str, extra: str, what: str) -> Any:
    """Import an optional library, or say how to install it.

    Parameters
    ----------
    module : str
        Its name.
    extra : str
        The extra of the package that brings it.
    what : str
        What needs it, as the beginning of a sentence (a plural).

    Raises
    ------
    AtldldError
        If the library is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise AtldldError(
            f"{what} need {module}, which is not installed.",
            hint=f"Install it with `pip install 'atldld[{extra}]'`.",
        ) from None


def data_frame_of(rows: Iterable[Mapping[str, Any]], index: str) -> pd.DataFrame:
    """Return rows as a `pandas.DataFrame`; what a row lacks is missing there.

    Parameters
    ----------
    rows : iterable of mapping
        Each a mapping of column to value.
    index : str
        The column that becomes the index.

    Raises
    ------
    AtldldError
        If pandas is not installed.
    """
    pandas = need("pandas", "tables", "Data frames")
    listed = list(rows)
    names = list(dict.fromkeys(name for row in listed for name in row)) or [index]
    frame: pd.DataFrame = pandas.DataFrame(listed, columns=names).set_index(index)
    return frame
