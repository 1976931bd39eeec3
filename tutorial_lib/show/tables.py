"""One way to write an HTML table: answers, the doctor's findings, a student's feedback."""

import html
from collections.abc import Sequence

CELL_STYLE = "text-align:left;vertical-align:top;padding:2px 12px 2px 0"


def html_table(
    header: Sequence[str], rows: Sequence[Sequence[object]], colours: Sequence[str] = ()
) -> str:
    """Return a table as HTML; texts are escaped, line breaks are kept.

    Args:
        header: name of each column.
        rows: texts or numbers of each row.
        colours: a light background colour per row (dark text is written on it); none if empty.
    """
    backgrounds = [f' style="background:{colour};color:black"' for colour in colours]
    styles = backgrounds or [""] * len(rows)
    body = "".join(_line("td", row, style) for row, style in zip(rows, styles, strict=True))
    return f"<table><thead>{_line('th', header, '')}</thead><tbody>{body}</tbody></table>"


def _line(tag: str, cells: Sequence[object], style: str) -> str:
    texts = [html.escape(str(cell)).replace("\n", "<br>") for cell in cells]
    return (
        f"<tr{style}>"
        + "".join(f'<{tag} style="{CELL_STYLE}">{t}</{tag}>' for t in texts)
        + "</tr>"
    )
