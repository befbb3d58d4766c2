"""Small pieces of the report's page: cards, sections, tables, and how numbers are written."""
import datetime
from html import escape

import numpy as np


def card(title, content, how="", wide=False):
    explanation = f'<p class="how">{how}</p>' if how else ""
    return f'<div class="card{" wide" if wide else ""}"><h3>{title}</h3>{content}{explanation}</div>'


def plot(record, columns, title, draw, how):
    """A card with a plot, or nothing where the run records none of these columns."""
    return card(title, draw(record), how) if record.has(*columns) else ""


def section(title, lead, cards):
    cards = [c for c in cards if c]
    return f'<h2>{title}</h2><p class="lead">{lead}</p><div class="grid">{"".join(cards)}</div>' if cards else ""


def short(value):
    """A number in at most five characters or so."""
    if value is None or not np.isfinite(value):
        return "–"
    if abs(value) >= 10000:
        for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= limit:
                return f"{value / limit:.3g} {unit}"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def duration(seconds):
    seconds = int(round(seconds))
    hours, minutes = divmod(seconds // 60, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds % 60:02d} s" if minutes else f"{seconds} s"


def moment(value):
    if isinstance(value, (int, float)):
        return datetime.datetime.fromtimestamp(value, datetime.timezone.utc).isoformat(" ", "seconds")
    return str(value) if value is not None else "–"


LONG_TEXT = 60  # letters, from which a cell is broken into lines


def table(head, rows):
    """Cells stay on one line, those of long texts apart; a narrow page scrolls the table."""
    def cell(value, tag="td"):
        text = "–" if value in (None, "") else str(value)
        return f"<{tag}{' class=text' if len(text) > LONG_TEXT else ''}>{escape(text)}</{tag}>"
    top = "<tr>" + "".join(f"<th>{h}</th>" for h in head) + "</tr>" if head else ""
    body = "".join("<tr>" + "".join(cell(v, "th" if i == 0 and not head else "td") for i, v in enumerate(row)) + "</tr>"
                   for row in rows)
    return f'<div class="scroll"><table class="facts">{top}{body}</table></div>'
