"""Small pieces of HTML for notebooks: cards, tables, pictures, bars.

They hold everything themselves and load nothing. Colours are the notebook's own, so that light and
dark themes both fit, and styles stand at the elements, as notebooks that are not trusted lose style
sheets. Texts of others are escaped here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from atldld.support.text import shown

__all__ = [
    "ACCENT",
    "Bar",
    "Markup",
    "card",
    "escaped",
    "link",
    "picture",
    "svg",
    "synthetic_note",
    "table",
]

ACCENT = "#d9730d"
"""The colour of what stands out; it can be read on white and on black."""

_LINE = "rgba(128,128,128,.35)"
_FONT = "font:13px/1.45 system-ui,-apple-system,'Segoe UI',sans-serif"


class Markup(str):
    """HTML that was made here; any other text is escaped."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Bar:
    """A cell of a table that shows a number with a bar.

    Attributes
    ----------
    text : str
        The number, as it is read.
    part : float
        Length of the bar, 0 to 1.
    """

    text: str
    part: float


def synthetic_note(synthetic: bool) -> str | None:
    """Return what must be said of made-up pixels, for the note of a `card`."""
    return "SYNTHETIC: of the made-up demo brain" if synthetic else None


def escaped(text: object) -> Markup:
    """Return a text as HTML shows it; what is markup already stays."""
    if isinstance(text, Markup):
        return text
    import html  # with a table of two thousand names

    return Markup(html.escape(shown(text)))


def link(text: str, address: str) -> Markup:
    """Return a link that opens in another tab."""
    import html

    return Markup(
        f'<a href="{html.escape(address)}" target="_blank" rel="noopener noreferrer">'
        f"{escaped(text)}</a>"
    )


def picture(data: bytes, alt: str, *, kind: str = "jpeg", height: int = 150) -> Markup:
    """Return a picture that is held by the page.

    Parameters
    ----------
    data : bytes
        The file.
    alt : str
        What it shows, for who cannot see it.
    kind : {"jpeg", "png"}
        Of the file.
    height : int
        How high it is shown at most, in pixels of the screen.
    """
    import base64

    held = base64.b64encode(data).decode("ascii")
    return Markup(
        f'<img src="data:image/{kind};base64,{held}" alt="{escaped(alt)}" title="{escaped(alt)}" '
        f'style="max-height:{height}px;max-width:100%;width:auto;border-radius:4px;margin:0;'
        'display:block">'
    )


def svg(
    shapes: str,
    size: tuple[float, float],
    label: str,
    *,
    height: int = 150,
    captioned: bool = False,
) -> Markup:
    """Return a drawing in the colour of the text around it.

    Parameters
    ----------
    shapes : str
        Elements of SVG, whose texts are escaped.
    size : tuple of 2 float
        Width and height of the drawing's own coordinates.
    label : str
        What it shows, for who cannot see it.
    height : int
        How high it is shown, in pixels of the screen.
    captioned : bool
        Write below the drawing what it shows.
    """
    width = height * size[0] / size[1]
    below = f'<div style="opacity:.65;font-size:12px">{escaped(label)}</div>' if captioned else ""
    return Markup(
        f'<svg role="img" aria-label="{escaped(label)}" viewBox="0 0 {size[0]:g} {size[1]:g}" '
        f'width="{width:.0f}" height="{height}" style="max-width:100%;overflow:hidden;'
        f'display:block"><title>{escaped(label)}</title>{shapes}</svg>{below}'
    )


def card(
    title: str,
    facts: Mapping[str, object],
    *,
    pictures: Sequence[Markup] = (),
    body: Iterable[Markup] = (),
    note: str | None = None,
    hint: str | None = None,
) -> str:
    """Return a card: a title, pictures, a list of facts, and what else there is.

    Parameters
    ----------
    title : str
        What it is.
    facts : mapping of str to object
        Names and values, in their order; those that are `None` are left out.
    pictures : sequence of Markup
        Side by side, before the facts.
    body : iterable of Markup
        Below them, such as a table.
    note : str, optional
        What must be known, such as that pixels are made up.
    hint : str, optional
        What to do next, in code.
    """
    listed = "".join(
        f'<dt style="opacity:.65;margin:0;font-weight:400;white-space:nowrap">{escaped(name)}</dt>'
        f'<dd style="margin:0;overflow-wrap:anywhere">{escaped(value)}</dd>'
        for name, value in facts.items()
        if value is not None
    )
    parts = [f'<div style="font-weight:600;font-size:14px">{escaped(title)}</div>']
    if note:
        parts.append(
            f'<div style="color:{ACCENT};font-weight:600;margin-top:2px">{escaped(note)}</div>'
        )
    shown_pictures = "".join(f"<div>{one}</div>" for one in pictures if one)
    parts.append(
        '<div style="display:flex;flex-wrap:wrap;gap:14px;align-items:flex-start;'
        f'margin-top:8px">{shown_pictures}'
        '<dl style="display:grid;grid-template-columns:max-content auto;gap:1px 12px;margin:0;'
        f'min-width:14em;flex:1 1 18em">{listed}</dl></div>'
    )
    parts += [f'<div style="margin-top:8px;overflow-x:auto">{one}</div>' for one in body if one]
    if hint:
        parts.append(
            f'<div style="opacity:.65;margin-top:6px"><code style="background:none;color:inherit">'
            f"{escaped(hint)}</code></div>"
        )
    return (
        f'<div style="{_FONT};color:inherit;text-align:left;border:1px solid {_LINE};'
        "border-radius:6px;padding:10px 12px;margin:4px 0;max-width:860px;"
        f'box-sizing:border-box">{"".join(parts)}</div>'
    )


def table(columns: Mapping[str, str], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table.

    Parameters
    ----------
    columns : mapping of str to str
        Headings, and whether their cells stand ``"left"`` or ``"right"``.
    rows : iterable of sequence
        Cells: texts, `Markup` or a `Bar`.
    """
    sides = list(columns.values())
    cell = f"padding:2px 10px 2px 0;border:0;border-bottom:1px solid {_LINE};background:none;"
    head = "".join(
        f'<th style="{cell}text-align:{side};font-weight:600;opacity:.75;vertical-align:bottom">'
        f"{escaped(name)}</th>"
        for name, side in columns.items()
    )
    lines = "".join(
        '<tr style="background:none">'
        + "".join(
            f'<td style="{cell}text-align:{side};vertical-align:top;'
            f'{"font-variant-numeric:tabular-nums;white-space:nowrap" if side == "right" else ""}">'
            f"{_cell(value)}</td>"
            for value, side in zip(row, sides, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return Markup(
        '<table style="border-collapse:collapse;border:0;margin:0;font-size:12.5px;color:inherit">'
        f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    )


def _cell(value: object) -> str:
    if not isinstance(value, Bar):
        return escaped(value)
    long = 100 * min(max(value.part, 0.0), 1.0)
    return (
        '<span style="display:inline-flex;align-items:center;gap:6px;justify-content:flex-end">'
        f'{escaped(value.text)}<span style="display:inline-block;width:70px;height:8px;'
        'background:rgba(128,128,128,.18);border-radius:2px"><span style="display:block;'
        f'height:8px;border-radius:2px;background:{ACCENT};width:{long:.1f}%"></span></span></span>'
    )
