#!/usr/bin/env python3
"""Puts figures into docs/performance.md: bench/page.py FILE, with the lines that bcrlapi-bench --json has written.

Of each benchmark the last line of a full run in the release profile counts; what stands between its two marks on the
page is replaced.
"""

import json
import math
import pathlib
import re
import sys

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "performance.md"


def rounded(figure):
    """Three digits that count."""
    decimals = max(0, 2 - math.floor(math.log10(abs(figure)))) if figure else 0
    text = f"{figure:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def rows(headings, lines):
    filled = [line + [""] * (len(headings) - len(line)) for line in lines]
    return ["| " + " | ".join(cells) + " |" for cells in [headings, ["---"] * len(headings), *filled]]


def block(line):
    goals = []
    for goal in line["goals"]:
        ours, other = (f"{rounded(goal[side])} {goal['unit']}".strip() for side in ("ours", "other"))
        verdict = "reached" if goal["reached"] else "**not reached**"
        ratios = [rounded(goal["ratio"]), rounded(goal["limit_ratio"])]
        goals.append([goal["what"], ours, goal["against"], other, *ratios, verdict])
    headings = ["goal", "ours", "against", "", "ours / other", "at most", ""]
    return "\n".join([
        *rows(line["table"]["headings"], line["table"]["rows"]),
        "",
        *rows(headings, goals),
        "",
        f"Load {line['load_average']:.1f}.",
        "",
        f"![{line['bench']}](performance/{line['bench']}.svg)",
    ])


page = PAGE.read_text(encoding="utf-8")
for text in open(sys.argv[1], encoding="utf-8"):
    line = json.loads(text)
    name = line["bench"]
    if line["is_quick"] or not line["is_release"]:
        sys.exit(f"{name}: figures of a full run in the release profile are wanted")
    between = re.compile(f"(<!-- figures of {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    page, count = between.subn(lambda marks: f"{marks[1]}\n{block(line)}\n\n{marks[2]}", page)
    if count != 1:
        sys.exit(f"the page has no place for the figures of {name}")
PAGE.write_text(page, encoding="utf-8")
