"""Learning curves as SVG that stands in the page itself, so that it takes the colours of the page, light or dark."""

import math
from collections.abc import Sequence
from typing import Any

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 14, 48

WORDS = {  # what a curve shows
    "iqm": "episode return while learning",
    "rms_error": "RMS error of the values while learning",
    "regret": "cumulative regret",
}


def curve(found: dict[str, Any]) -> str:
    """Mean and interval of `docs/evidence/*.json` against environment steps."""
    score = found.get("score", "iqm")
    unit = "pulls of each problem" if score == "regret" else "environment steps of each seed"
    low, high = min(found["low"]), max(found["high"])
    room = 0.05 * (high - low or 1.0)
    low, high, last = low - room, high + room, found["steps"][-1]

    def point(step: float, value: float) -> str:
        x = LEFT + step / last * (WIDTH - LEFT - RIGHT)
        y = TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return f"{x:.1f},{y:.1f}"

    def line(values: Sequence[float]) -> list[str]:
        return [point(step, value) for step, value in zip(found["steps"], values, strict=True)]

    marks = []
    for value in ticks(low, high):
        x, y = point(0, value).split(",")
        marks.append(f'<line class="grid" x1="{x}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        marks.append(f'<text x="{LEFT - 8}" y="{float(y) + 4:.1f}" text-anchor="end">{number(value)}</text>')
    for step in ticks(0, last):
        x, _ = point(step, low).split(",")
        marks.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{number(step)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    marks.append(f'<text x="{middle:g}" y="{HEIGHT - 4}" text-anchor="middle">{unit}</text>')
    title = f"{found['algorithm']} on {found['env']}: {WORDS[score]}"
    return "\n".join(
        [
            '<figure class="curve">',
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">',
            *marks,
            f'<polygon class="band" points="{" ".join(line(found["low"]) + line(found["high"])[::-1])}"/>',
            f'<polyline class="mean" points="{" ".join(line(found["mean"]))}"/>',
            "</svg>",
            f"<figcaption>{title}; {told(score, found)}.</figcaption>",
            "</figure>",
        ]
    )


def told(score: str, found: dict[str, Any]) -> str:
    """What a curve is the mean of, and how each seed ended."""
    if score == "regret":
        return f"mean of {found['problems']:,} problems and its 95 % interval"
    finals = found["final"].values()
    exploring, ended = (
        (", exploration included", "Final greedy policies") if score == "iqm" else ("", "Errors in the end")
    )
    ends = f"{number(min(finals))} to {number(max(finals))}"
    return f"mean of {len(finals)} seeds and its 95 % interval{exploring}. {ended}: {ends}"


def ticks(low: float, high: float) -> list[float]:
    """Some four round numbers between two."""
    rough = (high - low) / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [count * step for count in range(first, last + 1)]


def number(value: float) -> str:
    """`20k`, `1.5M`, `-0.25`."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size / 10 and size <= abs(value):
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"
