# SPDX-License-Identifier: Apache-2.0
"""Small SVG plots with logarithmic scales, the same bytes for the same data."""
import math
from xml.sax.saxutils import escape

COLOURS = ("#c0392b", "#2471a3", "#1e8449", "#b9770e", "#7d3c98", "#566573",
           "#148f77", "#a04000")
STYLE = "font-family='sans-serif' font-size='12' fill='#555'"


def _svg(width, height, title, body):
    return (f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' "
            f"height='{height}' viewBox='0 0 {width} {height}' {STYLE}>\n"
            f"<rect width='100%' height='100%' fill='#fff'/>\n"
            f"<text x='10' y='20' font-size='14'>{escape(title)}</text>\n"
            + "".join(line + "\n" for line in body) + "</svg>\n")


def _text(x, y, text, anchor="start"):
    return (f"<text x='{x:.0f}' y='{y:.0f}' text-anchor='{anchor}'>"
            f"{escape(text)}</text>")


def _line(x1, y1, x2, y2):
    return (f"<path d='M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}' "
            "stroke='#ddd'/>")


def _decades(values):
    low = math.floor(math.log10(min(values)))
    return low, max(low + 1, math.ceil(math.log10(max(values))))


def _short(value):
    return f"{value:.3g}" if value < 1000 else f"{value / 1000:.3g}k"


def bars(title, rows, legend):
    """rows: [(label, [value or None for each of `legend`])]."""
    low, high = _decades([v for _, vs in rows for v in vs if v])
    left, width, step = 130, 480, 11 * len(legend) + 7

    def x(value):
        return left + width * (math.log10(value) - low) / (high - low)

    height = 70 + step * len(rows)
    body = []
    for power in range(low, high + 1):
        body += [_line(x(10**power), 46, x(10**power), height - 24),
                 _text(x(10**power), height - 8, _short(10.0**power), "middle")]
    for i, name in enumerate(legend):
        body += [f"<rect x='{left + 110 * i}' y='30' width='10' height='10' "
                 f"fill='{COLOURS[i]}'/>", _text(left + 110 * i + 14, 40, name)]
    for row, (label, values) in enumerate(rows):
        top = 50 + step * row
        body.append(_text(left - 6, top + step / 2 + 2, label, "end"))
        for i, value in enumerate(values):
            if value:
                body += [f"<rect x='{left}' y='{top + 11 * i}' width="
                         f"'{x(value) - left:.1f}' height='10' "
                         f"fill='{COLOURS[i]}'/>",
                         f"<text x='{x(value) + 3:.0f}' y='{top + 11 * i + 9}' "
                         f"font-size='9'>{_short(value)}</text>"]
    return _svg(left + width + 40, height, title, body)


def lines(title, x_label, series):
    """series: {name: {x: value}}; both scales are logarithmic."""
    xs = sorted({x for points in series.values() for x in points})
    low, high = _decades([v for p in series.values() for v in p.values()])
    left, top, width, height = 50, 40, 400, 240

    def place(x, value):
        across = math.log(x / xs[0]) / math.log(xs[-1] / xs[0])
        up = (math.log10(value) - low) / (high - low)
        return left + width * across, top + height * (1 - up)

    body = []
    for power in range(low, high + 1):
        y = place(xs[0], 10.0**power)[1]
        body += [_line(left, y, left + width, y),
                 _text(left - 6, y + 4, _short(10.0**power), "end")]
    for x in xs:
        body.append(_text(place(x, 10.0**low)[0], top + height + 16, _short(x),
                          "middle"))
    body.append(_text(left + width / 2, top + height + 34, x_label, "middle"))
    # Names stand at the lines' ends, in their order, not on one another.
    ends = sorted(series, key=lambda n: -series[n][max(series[n])])
    label_y = 0
    for name in ends:
        colour = COLOURS[list(series).index(name) % len(COLOURS)]
        points = [place(x, v) for x, v in sorted(series[name].items())]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        label_y = max(label_y + 14, points[-1][1] + 4)
        body += [f"<path d='M{path}' fill='none' stroke='{colour}' "
                 "stroke-width='2'/>",
                 f"<text x='{left + width + 8}' y='{label_y:.0f}' "
                 f"style='fill:{colour}'>{escape(name)}</text>"]
    return _svg(left + width + 130, top + height + 44, title, body)
