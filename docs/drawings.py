"""Drawings of the documentation as SVG: the idea in four steps, and the decision tree for random effects.

Written by ``make_pictures.py``. Colours are variables with defaults for a light page; inline in a page of the
documentation they follow its theme.
"""

from __future__ import annotations

from html import escape

import numpy as np

STYLE = """
.sc { --ink: var(--pst-color-text-base, #1c2024); --soft: var(--pst-color-text-muted, #59626b);
      --line: var(--pst-color-border, #c9ced4); --card: var(--pst-color-surface, #f6f7f8);
      --a: #009e73; --b: #6a51c7; --go: #c24e00; font-family: system-ui, -apple-system, "Segoe UI", Arial, sans-serif; }
html[data-theme="dark"] .sc { --a: #2fc79b; --b: #a99bf0; --go: #ff8f4a; }
.sc text { fill: var(--ink); font-size: 14px; } .sc .t { font-size: 17px; font-weight: 650; }
.sc .s { fill: var(--soft); font-size: 13.5px; }
.sc .m { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 13px; }
.sc .box { fill: var(--card); stroke: var(--line); } .sc .a { fill: var(--a); } .sc .b { fill: var(--b); }
.sc .as { stroke: var(--a); } .sc .bs { stroke: var(--b); } .sc .go { stroke: var(--go); fill: none; stroke-width: 2; }
.sc .tip { fill: var(--go); } .sc .ax { stroke: var(--soft); fill: none; } .sc .dot { fill: var(--soft); }
.sc a:hover .box { stroke: var(--go); stroke-width: 2; } .sc a text.m { text-decoration: underline; }
"""


class Drawing:
    """Pieces of one SVG."""

    def __init__(self, width: float, height: float, title: str, *, page: bool = False) -> None:
        self.width, self.height, self.title = width, height, title
        self.parts: list[str] = []
        if page:  # a picture that stands alone brings its own paper
            self.add(f'<rect width="{width}" height="{height}" rx="12" fill="#ffffff"/>')

    def add(self, *parts: str) -> None:
        """Put pieces on top."""
        self.parts += parts

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """One line of text."""
        self.add(f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>')

    def box(self, x: float, y: float, width: float, height: float) -> None:
        """A rounded box."""
        self.add(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="10" class="box"/>')

    def dot(self, x: float, y: float, r: float, kind: str, more: str = "") -> None:
        """A filled circle."""
        self.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" class="{kind}"{more}/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str, more: str = "") -> None:
        """A straight line."""
        self.add(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"{more}/>')

    def arrow(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """A line with a tip at its end, horizontal or vertical."""
        self.line(x1, y1, x2, y2, "go")
        dx, dy = np.sign(x2 - x1), np.sign(y2 - y1)
        tips = [(x2 + 7 * dx, y2 + 7 * dy), (x2 - 5 * dy, y2 - 5 * dx), (x2 + 5 * dy, y2 + 5 * dx)]
        self.add(f'<path d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in tips)} z" class="tip"/>')

    def svg(self) -> str:
        """The whole drawing."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" class="sc" '
            f'role="img" aria-label="{escape(self.title)}" style="max-width:{self.width:g}px;width:100%;height:auto">\n'
            f"<title>{escape(self.title)}</title>\n<style>{STYLE}</style>\n" + "\n".join(self.parts) + "\n</svg>\n"
        )


def scrolling(svg: str) -> str:
    """A drawing inside a page, which a reader with a small screen scrolls sideways."""
    inside = svg.replace("width:100%", "width:100%;min-width:640px", 1)
    return f'<div style="overflow-x:auto" tabindex="0">\n{inside}</div>\n'


def workflow(*, page: bool = False) -> str:
    """Cells of samples, compressed to a few numbers, one model a gene, one table."""
    rng = np.random.default_rng(4)
    title = "Cells of samples are compressed once; every gene gets a mixed model; samples are the replicates"
    d = Drawing(1040, 300, title, page=page)
    heads = [
        ("1  Cells of samples", "Cells of one sample", "resemble each other."),
        ("2  Compressed once", "A few numbers per gene and", "sample replace the cells."),
        ("3  One model per gene", "Does the difference exceed", "the spread of the samples?"),
        ("4  Evidence", "Variances are learnt from all", "genes; p-values hold their level."),
    ]
    for i, (head, first, second) in enumerate(heads):
        x = 14 + 257 * i
        d.box(x, 14, 236, 272)
        d.text(x + 118, 42, head, "t", "middle")
        d.text(x + 118, 252, first, "s", "middle")
        d.text(x + 118, 271, second, "s", "middle")
        if i:
            d.arrow(x - 20, 150, x - 9, 150)
    _cells(d, rng, 14)
    _numbers(d, rng, 271)
    _model(d, 528)
    _evidence(d, rng, 785)
    return d.svg()


def _cells(d: Drawing, rng: np.random.Generator, x: float) -> None:
    for k in range(6):
        kind = "a" if k < 3 else "b"
        cx, cy = x + 47 + 71 * (k % 3), 104 + 88 * (k // 3)
        d.add(f'<circle cx="{cx}" cy="{cy}" r="32" fill="none" class="{kind}s" stroke-opacity="0.45"/>')
        for _ in range((26, 14, 34, 20, 30, 10)[k]):
            r, angle = 27 * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
            d.dot(cx + r * np.cos(angle), cy + r * np.sin(angle), 2.3, kind, ' fill-opacity="0.75"')
    d.text(x + 118, 66, "control", "s", "middle")
    d.text(x + 118, 155, "disease", "s", "middle")


def _numbers(d: Drawing, rng: np.random.Generator, x: float) -> None:
    for k in range(6):
        kind = "a" if k < 3 else "b"
        y = 68 + 27 * k
        d.dot(x + 24, y + 9, 6, kind)
        for j in range(12):
            opacity = 0.12 + 0.8 * float(np.exp(-((j - 5.5 - rng.normal(0, 0.8)) ** 2) / 9))
            d.add(
                f'<rect x="{x + 42 + 14.6 * j:.1f}" y="{y}" width="12.6" height="18" rx="2" class="{kind}" '
                f'fill-opacity="{opacity:.2f}"/>'
            )


def _model(d: Drawing, x: float) -> None:
    for arm, (kind, mean, ys) in enumerate([("a", 178, (196, 164, 181)), ("b", 108, (128, 92, 106))]):
        left = x + 34 + 92 * arm
        d.add(f'<rect x="{left}" y="{mean - 16}" width="76" height="32" class="{kind}" fill-opacity="0.16"/>')
        d.line(left, mean, left + 76, mean, f"{kind}s", ' stroke-width="2.5"')
        for j, y in enumerate(ys):
            sx = left + 14 + 24 * j
            d.line(sx, mean, sx, y, "ax", ' stroke-width="1"')
            d.dot(sx, y, (5, 7, 6)[j], kind)
    d.line(x + 24, 66, x + 24, 214, "ax")
    d.line(x + 24, 214, x + 218, 214, "ax")
    d.text(x + 118, 234, "counts ~ disease + (1|sample)", "m", "middle")


def _evidence(d: Drawing, rng: np.random.Generator, x: float) -> None:
    effect = np.concatenate([rng.normal(0, 22, 130), rng.uniform(42, 88, 9), rng.uniform(-88, -42, 7)])
    share = np.concatenate([rng.uniform(0.1, 1.0, 130), rng.uniform(0.95, 1.5, 16)])
    for at, up in zip(effect, np.abs(effect) * share, strict=True):
        found = ' style="fill:var(--go)"' if at > 0 else ' style="fill:#0072b2"'
        colour = found if up > 48 else ' fill-opacity="0.6"'
        d.dot(x + 118 + at, 212 - min(up, 138), 2.6, "dot", colour)
    d.line(x + 24, 164, x + 214, 164, "ax", ' stroke-dasharray="4 3"')
    d.line(x + 24, 216, x + 214, 216, "ax")
    d.text(x + 118, 234, "fold change and evidence", "s", "middle")


# question, where its box is, and where "yes" leads to: the formula and the section that explains it
TREE = [
    (
        ("Does the tested effect vary", "from cell to cell in a sample?"),
        ("counts ~ x + (1|sample)", "+ (0 + center(x)|sample)"),
        "a covariate of cells; the slope is added for you",
        "random-slopes",
    ),
    (
        ("Does one donor give samples", "of several conditions?"),
        ("counts ~ stim", "+ (1|donor) + (1|sample)"),
        "paired design",
        "three-rules",
    ),
    (
        ("Does one donor give several", "samples of one condition?"),
        ("counts ~ disease", "+ (1|donor) + (1|sample)"),
        "repeated samples",
        "three-rules",
    ),
]


def which_effect() -> str:
    """Questions from top to bottom; an answer "yes" leads to a formula."""
    d = Drawing(840, 560, "Which random effects does the model need? Follow the questions from top to bottom")
    for i, (question, formula, name, anchor) in enumerate(TREE):
        y = 14 + 108 * i
        d.box(14, y, 300, 70)
        d.text(164, y + 30, question[0], "", "middle")
        d.text(164, y + 50, question[1], "", "middle")
        d.arrow(314, y + 35, 428, y + 35)
        d.text(366, y + 27, "yes", "s", "middle")
        _leaf(d, 438, y, formula, name, anchor)
        d.arrow(164, y + 70, 164, y + 98)
        d.text(176, y + 92, "no", "s")
    y = 14 + 108 * len(TREE)
    _leaf(d, 14, y, ("counts ~ disease + (1|sample)", ""), "one sample from each donor", "three-rules", 300)
    d.box(14, y + 118, 300, 70)
    d.text(164, y + 148, "Were samples processed in", "", "middle")
    d.text(164, y + 168, "batches, pools or runs?", "", "middle")
    d.line(164, y + 70, 164, y + 108, "go", ' stroke-dasharray="5 4"')
    d.text(176, y + 98, "in every design, also ask", "s")
    for k, (words, formula) in enumerate([("2 to 5 batches", "add  + batch"), ("6 or more", "add  + (1|batch)")]):
        top = y + 92 + 62 * k
        d.line(314, y + 153, 430, top + 25, "go")
        d.text(446, top + 20, words, "s")
        d.text(446, top + 40, formula, "m")
    return d.svg()


def _leaf(d: Drawing, x: float, y: float, formula: tuple[str, str], name: str, anchor: str, width: float = 396) -> None:
    d.add(f'<a href="#{anchor}">')
    d.box(x, y, width, 70)
    if formula[1] and width > 350:
        d.text(x + width / 2, y + 28, f"{formula[0]} {formula[1]}", "m", "middle")
    else:
        d.text(x + width / 2, y + 28, formula[0], "m", "middle")
    d.text(x + width / 2, y + 52, name, "s", "middle")
    d.add("</a>")
