"""A terminal's screen as a picture: `tmux capture-pane -e -p | screen_svg.py TITLE >picture.svg`.

In: rows of text with SGR sequences (ECMA-48 §8.3.117) of weight, reverse and the sixteen colours, also by their number
(38;5;N), which is what the interface draws with. Out: an SVG of one rectangle and text a run, so that it can be read, searched and compared. What
other sequence there is ends the program: a picture that leaves something out would be wrong.
"""

import re
import sys
import unicodedata
from html import escape

COLUMN, ROW, PAD = 8.4, 18, 12
BACK, FRONT = "#16181d", "#d7dae0"
COLOURS = ["#3b4048", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d7dae0"]
BRIGHT = ["#7f8793", "#ff7b86", "#b5e08c", "#ffd68a", "#82c4ff", "#de9bf0", "#7fd6e0", "#ffffff"]


class Style:
    """What holds for the text that follows."""

    def __init__(self):
        self.front = self.back = None
        self.bold = self.dim = self.reversed = self.underlined = False

    def take(self, codes):
        codes = iter(codes)
        for code in codes:
            if code in (38, 48) and next(codes, None) == 5 and (number := next(codes, 16)) < 16:
                setattr(self, "front" if code == 38 else "back", (COLOURS + BRIGHT)[number])
            elif code == 0:
                self.__init__()
            elif code in (1, 2, 4, 7):
                setattr(self, {1: "bold", 2: "dim", 4: "underlined", 7: "reversed"}[code], True)
            elif code == 22:
                self.bold = self.dim = False
            elif code in (24, 27):
                setattr(self, "underlined" if code == 24 else "reversed", False)
            elif 30 <= code <= 37 or 90 <= code <= 97:
                self.front = COLOURS[code - 30] if code < 90 else BRIGHT[code - 90]
            elif 40 <= code <= 47 or 100 <= code <= 107:
                self.back = COLOURS[code - 40] if code < 100 else BRIGHT[code - 100]
            elif code in (39, 49):
                setattr(self, "front" if code == 39 else "back", None)
            else:
                sys.exit(f"screen_svg: SGR {code} is not known")

    def colours(self):
        front, back = self.front or FRONT, self.back or BACK
        return (back, front) if self.reversed else (front, back)


def columns(text):
    """How many columns a text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def run(text, at, row, style):
    """One run of one style, and where the next begins."""
    wide = columns(text)
    x, y = PAD + at * COLUMN, PAD + ROW * (row + 1)
    front, back = style.colours()
    parts = []
    if back != BACK:
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="{wide * COLUMN:.1f}" height="{ROW}" fill="{back}"/>')
    # Spaces are places, not signs: SVG would take several for one.
    signs = text.strip(" ").replace(" ", "\u00a0")
    if signs:
        x, long = x + (len(text) - len(text.lstrip(" "))) * COLUMN, columns(signs) * COLUMN
        more = ' font-weight="bold"' if style.bold else ""
        more += ' opacity="0.6"' if style.dim else ""
        more += ' text-decoration="underline"' if style.underlined else ""
        parts.append(
            f'<text x="{x:.1f}" y="{y + 13}" textLength="{long:.1f}" fill="{front}"{more}>{escape(signs)}</text>'
        )
    return parts, at + wide


def main():
    title = " ".join(sys.argv[1:]) or "a terminal"
    rows = sys.stdin.read().rstrip("\n").split("\n")
    style, parts, widest = Style(), [], 0
    for number, row in enumerate(rows):
        at = 0
        for text, codes in re.findall(r"([^\x1b]+)|\x1b\[([0-9;]*)m", row):
            if text:
                more, at = run(text, at, number, style)
                parts += more
            else:
                style.take([int(code or 0) for code in codes.split(";")])
        if "\x1b" in re.sub(r"\x1b\[[0-9;]*m", "", row):
            sys.exit(f"screen_svg: row {number} has a sequence that is no SGR")
        widest = max(widest, at)
    width, height = 2 * PAD + widest * COLUMN, 2 * PAD + ROW * (len(rows) + 1)
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" role="img">')
    print(f"<title>{escape(title)}</title>")
    print(f'<rect width="100%" height="100%" rx="8" fill="{BACK}"/>')
    for dot, colour in enumerate(("#e06c75", "#e5c07b", "#98c379")):
        print(f'<circle cx="{PAD + 6 + 18 * dot}" cy="{PAD + 4}" r="5" fill="{colour}"/>')
    print('<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace" font-size="14">')
    print("\n".join(parts))
    print("</g></svg>")


main()
