# SPDX-License-Identifier: BSD-3-Clause
"""Plots as SVG: groups of bars with the range of the rounds."""

import math
from html import escape

COLOURS = ["#2a6f97", "#d08c2f", "#8a8f98", "#6a994e"]
LEFT, WIDTH, BAR, GAP, RIGHT = 330, 520, 13, 12, 90
FONT = 'font-family="sans-serif" font-size="12"'


def short(v):
    return f"{v:,.0f}" if v >= 100 else f"{v:.1f}" if v >= 10 else f"{v:.2f}"


def ticks(top, low):
    """Round numbers up to top; low: by powers of ten from there."""
    if low:
        return [10 ** e for e in range(round(math.log10(low)), math.ceil(math.log10(top)) + 1)]
    step = 10 ** math.floor(math.log10(top))
    while top / step < 4:
        step /= 2
    return [i * step for i in range(int(top / step) + 1)]


def bars(title, unit, groups, logarithmic=False):
    """groups: (name, [(label, [values of the rounds])]); the bar is the median, the line the range."""
    groups = [(n, [(w, sorted(v)) for w, v in rows if v]) for n, rows in groups]
    groups = [g for g in groups if g[1]]
    every = [x for _, rows in groups for _, v in rows for x in v]
    if not every or max(every) <= 0:
        return None
    top = max(every)
    low = 10 ** math.floor(math.log10(min(x for x in every if x > 0))) if logarithmic else 0
    marks = ticks(top, low)
    top = max(top, marks[-1])

    def at(v):
        if not logarithmic:
            return LEFT + WIDTH * max(v, 0) / top
        return LEFT + WIDTH * math.log10(max(v, low) / low) / math.log10(top / low)

    labels = list(dict.fromkeys(w for _, rows in groups for w, _ in rows))
    out, y = [], 52
    for i, w in enumerate(labels):
        out.append(f'<rect x="{LEFT + 110 * i}" y="28" width="10" height="10" fill="{COLOURS[i % 4]}"/>'
                   f'<text x="{LEFT + 110 * i + 15}" y="38">{escape(w)}</text>')
    begin = y
    for name, rows in groups:
        out.append(f'<text x="{LEFT - 8}" y="{y + BAR * len(rows) / 2 + 4:.0f}" text-anchor="end">{escape(name)}</text>')
        for w, v in rows:
            mid = (v[(len(v) - 1) // 2] + v[len(v) // 2]) / 2
            out.append(f'<rect x="{LEFT}" y="{y}" width="{max(at(mid) - LEFT, 1):.1f}" height="{BAR - 2}" '
                       f'fill="{COLOURS[labels.index(w) % 4]}"/>')
            out.append(f'<path d="M{at(v[0]):.1f} {y + BAR / 2 - 1}H{at(v[-1]):.1f}" stroke="#222" stroke-width="1.5"/>')
            out.append(f'<text x="{at(v[-1]) + 5:.1f}" y="{y + BAR - 3}" font-size="10">{short(mid)}</text>')
            y += BAR
        y += GAP
    grid = [f'<path d="M{at(t):.1f} {begin - 6}V{y}" stroke="#ddd"/>'
            f'<text x="{at(t):.1f}" y="{y + 14}" text-anchor="middle" font-size="10">{t:,g}</text>' for t in marks]
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + RIGHT}" height="{y + 24}" {FONT}>'
            f'<rect width="100%" height="100%" fill="#fff"/><text x="8" y="18" font-size="14" font-weight="bold">'
            f'{escape(title)} <tspan font-weight="normal">({escape(unit)})</tspan></text>')
    return "\n".join([head] + grid + out + ["</svg>"]) + "\n"
