"""Pure: a small plot as SVG. Lines over a logarithmic x axis; y begins at 0, or is logarithmic too."""

import math
from html import escape

WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 26, 46, 42
COLOURS = ["#1f5fbf", "#c2571a", "#3a8f4d", "#777777"]


def _steps(most: float) -> list[float]:
    """Four or five round numbers from 0 to above the largest value."""
    size = 10 ** math.floor(math.log10(most))
    step = next(size * part for part in (0.2, 0.25, 0.5, 1, 2, 2.5) if size * part * 5 >= most)
    return [step * n for n in range(math.ceil(most / step) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def plot(title: str, x_name: str, y_name: str, series: dict[str, list[tuple[float, float]]],
         x_names: dict[float, str] | None = None, log_y=False) -> str:
    """`series`: points by the name of their line. `x_names`: the ticks of x, where they are not the first line's points."""
    points = [point for line in series.values() for point in line]
    xs = sorted({x for x, _ in points})
    ticks_x = x_names or {x: _number(x) for x in xs}
    lowest, highest = min(y for _, y in points), max(y for _, y in points)
    if log_y:
        ticks_y = [10.0**n for n in range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)]
    else:
        ticks_y = _steps(highest)

    def across(x):
        share = math.log(x / xs[0]) / math.log(xs[-1] / xs[0])
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def down(y):
        if log_y:
            share = math.log(y / ticks_y[0]) / math.log(ticks_y[-1] / ticks_y[0])
        else:
            share = y / ticks_y[-1]
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
           'font-family="sans-serif" font-size="11" fill="#333">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
           f'<text x="{LEFT}" y="16" font-size="13" font-weight="bold">{escape(title)}</text>']
    for y in ticks_y:
        at = down(y)
        out.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_number(y)}</text>')
    for x, name in ticks_x.items():
        out.append(f'<text x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{escape(name)}</text>')
    out.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_name)}</text>')
    upright = f'x="12" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 12 {HEIGHT / 2})"'
    out.append(f"<text {upright}>{escape(y_name)}</text>")
    at = LEFT
    for (name, line), colour in zip(series.items(), COLOURS, strict=False):
        path = "L".join(f"{across(x):.1f} {down(y):.1f}" for x, y in line)
        out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{across(x):.1f}" cy="{down(y):.1f}" r="2.5" fill="{colour}"/>' for x, y in line]
        out.append(f'<text x="{at}" y="34" fill="{colour}">{escape(name)}</text>')
        at += 7 * len(name) + 16
    return "\n".join([*out, "</svg>", ""])
