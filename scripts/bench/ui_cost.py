"""Rows of `ui-cost` in words.

In, on standard input: a row a round, of ticks of 10 ms: all threads of `ui`, of `join`, the main thread of both; then
xruns and starved ticks of `ui` and of `join`. Arguments: seconds of a round; `all` for medians over the rows instead of
the rows themselves. Out: percent of a core, and what was missed.
"""

import statistics
import sys


def said(values):
    """Median, with least and most where they are several."""
    median = f"{statistics.median(values):.1f}"
    return median if len(values) == 1 else f"{median} ({min(values):.1f}..{max(values):.1f})"


def tell(rows, seconds):
    """One paragraph for these rows."""
    percent = [[ticks / seconds for ticks in row[:4]] for row in rows]
    more = [of[0] - of[1] for of in percent]
    more_main = [of[2] - of[3] for of in percent]
    missed = [sum(row[at] for row in rows) for at in range(4, 8)]
    return (
        f"ui {said([of[0] for of in percent])} %, join {said([of[1] for of in percent])} %: drawing {said(more)} %; "
        f"main thread {said([of[2] for of in percent])} and {said([of[3] for of in percent])} %: {said(more_main)} %; "
        f"xruns {missed[0]} and {missed[2]}, starved {missed[1]} and {missed[3]}"
    )


def main():
    seconds = float(sys.argv[1])
    rows = [[float(word) for word in line.split()] for line in sys.stdin]
    rows = [row[:4] + [int(count) for count in row[4:]] for row in rows]
    for part in [rows] if "all" in sys.argv[2:] else [[row] for row in rows]:
        print(tell(part, seconds))


main()
