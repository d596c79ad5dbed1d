"""Plots as SVG, by hand: an opaque ground of their own, light or dark as the reader's browser prefers, and text that stays text."""
import html
import math

WIDTH, LEFT, RIGHT = 860, 210, 40
ROW, GAP, TOP = 26, 10, 78
# Told apart by people who see few colours, on both grounds (after Okabe and Ito).
COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999"]
STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #1b1f24 } .title { font-size: 16px; font-weight: 600 } .small { font-size: 11px; fill: #57606a }
.end { text-anchor: end } .middle { text-anchor: middle } .ground { fill: #ffffff; stroke: #d0d7de } .grid { stroke: #d8dee4; stroke-width: 1 }
.axis { stroke: #57606a; stroke-width: 1 } .spread { stroke: #1b1f24; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .small { fill: #9da7b1 } .ground { fill: #0d1117; stroke: #30363d }
.grid { stroke: #21262d } .axis { stroke: #9da7b1 } .spread { stroke: #e6edf3 } }
</style>"""


def text(x, y, words, css=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}">{html.escape(str(words))}</text>'


def line(x1, y1, x2, y2, css):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def box(x, y, width, height, colour):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height}" fill="{colour}"/>'


def figure(title, subtitle, height, body):
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
        f"<title>{html.escape(title)}</title>", STYLE,
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6" class="ground"/>',
        text(20, 28, title, "title"), text(20, 47, subtitle, "small"), *body, "</svg>", ""])


def ticks(top, count=6):
    """Round values from 0 to at least `top`."""
    rough = top / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    return [i * step for i in range(math.ceil(top / step - 1e-9) + 1)]


def number(value):
    return f"{value:.3g}"


def scale_of(values, bottom, label):
    """The horizontal axis from 0; its marks as SVG, and where a value is."""
    marks = ticks(max(values) or 1)
    at = lambda v: LEFT + v / marks[-1] * (WIDTH - LEFT - RIGHT - 60)  # noqa: E731
    body = []
    for m in marks:
        body += [line(at(m), TOP - 6, at(m), bottom, "grid"), text(at(m), bottom + 16, number(m), "small middle")]
    return body + [text(at(marks[-1] / 2), bottom + 34, label, "small middle")], at


def legend(names, y):
    body, x = [], 20
    for i, name in enumerate(names):
        body += [box(x, y - 10, 11, 11, COLOURS[i % len(COLOURS)]), text(x + 16, y, name, "small")]
        x += 30 + 6.4 * len(name)
    return body


def stacked(title, subtitle, label, segments, rows):
    """Bars of segments: rows are (name, {segment: value}); absent segments are left out."""
    bottom = TOP + len(rows) * (ROW + GAP)
    sums = [sum(parts.values()) for _, parts in rows]
    body, at = scale_of(sums, bottom, label)
    for i, (name, parts) in enumerate(rows):
        y, x = TOP + i * (ROW + GAP), 0
        body.append(text(LEFT - 8, y + 17, name, "end"))
        for j, segment in enumerate(segments):
            value = max(0, parts.get(segment, 0))
            body.append(box(at(x), y, at(x + value) - at(x), ROW, COLOURS[j % len(COLOURS)]))
            x += value
        body.append(text(at(x) + 6, y + 17, number(sums[i]), "small"))
    return figure(title, subtitle, bottom + 74, body + legend(segments, bottom + 60))


def bars(title, subtitle, label, rows):
    """rows are (name, (median, least, most), ours)."""
    bottom = TOP + len(rows) * (ROW + GAP)
    body, at = scale_of([v[2] for _, v, _ in rows], bottom, label)
    for i, (name, (middle, least, most), ours) in enumerate(rows):
        y = TOP + i * (ROW + GAP)
        body += [text(LEFT - 8, y + 17, name, "end"), box(at(0), y, at(middle) - at(0), ROW, COLOURS[0 if ours else 1]),
                 line(at(least), y + ROW / 2, at(most), y + ROW / 2, "spread"), text(at(most) + 6, y + 17, number(middle), "small")]
    return figure(title, subtitle, bottom + 74, body + legend(["ours", "others, and limits"], bottom + 60))


def curves(title, subtitle, x_label, y_label, series):
    """series: {name: [(x, (median, least, most))]}; x is logarithmic, y begins at 0."""
    left, height, bottom = 70, 300, TOP + 300
    xs = sorted({x for points in series.values() for x, _ in points})
    low, high = math.log10(xs[0]), math.log10(xs[-1])
    margin = max(0.1, (high - low) * 0.05)
    marks = ticks(max(v[2] for points in series.values() for _, v in points))
    at_x = lambda x: left + (math.log10(x) - low + margin) / (high - low + 2 * margin) * (WIDTH - left - RIGHT)  # noqa: E731
    at_y = lambda y: bottom - y / marks[-1] * height  # noqa: E731
    body = [line(left, bottom, WIDTH - RIGHT, bottom, "axis"), text((left + WIDTH - RIGHT) / 2, bottom + 38, x_label, "small middle"),
            text(left, TOP - 14, y_label, "small")]
    for m in marks:
        body += [line(left, at_y(m), WIDTH - RIGHT, at_y(m), "grid"), text(left - 6, at_y(m) + 4, number(m), "small end")]
    for x in xs:
        body.append(text(at_x(x), bottom + 18, f"{x:.2g}" if x < 1 else f"{x:.1f}", "small middle"))
    for i, points in enumerate(series.values()):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(f"{at_x(x):.1f},{at_y(v[0]):.1f}" for x, v in points)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, (middle, least, most) in points:
            body += [line(at_x(x), at_y(least), at_x(x), at_y(most), "spread"),
                     f'<circle cx="{at_x(x):.1f}" cy="{at_y(middle):.1f}" r="4" fill="{colour}"/>']
    return figure(title, subtitle, bottom + 78, body + legend(list(series), bottom + 62))
