#!/usr/bin/env python3
"""Draws the pictures of the pages: the SVG files beside this script. It needs no package.

    docs/images/draw.py            # writes the files
    docs/images/draw.py --check    # fails if a file differs from what this script draws

Each works in light and dark, as the viewer has it, and can be read by a screen reader.
"""

import html
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent

STYLE = """
  svg { background: #fcfbf8; font: 14px system-ui, sans-serif; }
  text { fill: #22262b; }
  .small { font-size: 12px; fill: #59616b; }
  .strong { font-weight: 600; }
  .box { fill: #ffffff; stroke: #8a929c; }
  .worker { fill: #eef1f4; stroke: #59616b; }
  .red { fill: #f6d3cd; stroke: #b3402d; }
  .blue { fill: #cfe0f5; stroke: #2c62a8; }
  .green { fill: #d3ead6; stroke: #1f7a4d; }
  .plain { fill: #e6e3da; stroke: #77715f; }
  .line { fill: none; stroke: #59616b; stroke-width: 1.5; }
  .wait { fill: none; stroke: #8a929c; stroke-width: 1.5; stroke-dasharray: 3 4; }
  .head { fill: #59616b; }
  .commit { fill: #b3402d; }
  @media (prefers-color-scheme: dark) {
    svg { background: #14181d; }
    text { fill: #e6e9ed; }
    .small { fill: #a3acb6; }
    .box { fill: #1d232a; stroke: #6d7782; }
    .worker { fill: #20272f; stroke: #8a94a0; }
    .red { fill: #5a241b; stroke: #e58a78; }
    .blue { fill: #1d3a5f; stroke: #82b1ec; }
    .green { fill: #17452d; stroke: #6fc894; }
    .plain { fill: #3a372e; stroke: #a8a18c; }
    .line { stroke: #a3acb6; }
    .wait { stroke: #6d7782; }
    .head { fill: #a3acb6; }
    .commit { fill: #e58a78; }
  }
"""


class Picture:
    """An SVG that grows: shapes in the order in which they are added."""

    def __init__(self, width, height, title, text):
        self.width, self.height, self.title, self.words = width, height, title, text
        self.parts = []

    def text(self, x, y, text, style="", anchor="middle"):
        place = f'x="{x}" y="{y}" text-anchor="{anchor}" class="{style}"'
        self.parts.append(f"<text {place}>{html.escape(text)}</text>")

    def box(self, x, y, width, height, style="box", *lines):
        """A box with lines of text in its middle; the first one is strong if there are several."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" class="{style}"/>'
        )
        first = y + height / 2 + 5 - 9 * (len(lines) - 1)
        for at, line in enumerate(lines):
            look = "small" if at else "strong" if len(lines) > 1 else ""
            self.text(x + width / 2, first + 18 * at, line, look)

    def bar(self, x, y, width, style):
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="24" rx="4" class="{style}"/>'
        )

    def arrow(self, *points, style="line"):
        """A line through these points, with a head at the last one."""
        way = " ".join(f"{x},{y}" for x, y in points)
        self.parts.append(f'<polyline points="{way}" class="{style}"/>')
        (x0, y0), (x, y) = points[-2:]
        length = max(abs(x - x0), abs(y - y0))
        dx, dy = (x - x0) / length * 8, (y - y0) / length * 8
        corners = [(x, y), (x - dx - dy / 2, y - dy + dx / 2), (x - dx + dy / 2, y - dy - dx / 2)]
        self.parts.append(
            f'<polygon points="{" ".join(f"{a:g},{b:g}" for a, b in corners)}" class="head"/>'
        )

    def line(self, x0, y0, x1, y1, style="line"):
        self.parts.append(f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" class="{style}"/>')

    def diamond(self, x, y):
        self.parts.append(
            f'<polygon points="{x},{y - 8} {x + 8},{y} {x},{y + 8} {x - 8},{y}" class="commit"/>'
        )

    def svg(self):
        parts = "\n".join("  " + part for part in self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}"'
            f' width="{self.width}" height="{self.height}" role="img" aria-labelledby="t d">\n'
            f'  <title id="t">{html.escape(self.title)}</title>\n'
            f'  <desc id="d">{html.escape(self.words)}</desc>\n'
            f"  <style>{STYLE}  </style>\n{parts}\n</svg>\n"
        )


def event():
    """From a post to the end of the callback."""
    p = Picture(
        860,
        330,
        "The way of an event",
        "A post appends a closure to the queue of its color. If the color was idle, it goes to a "
        "worker's run queue. The worker takes the color out and runs its events for a turn.",
    )
    p.box(20, 30, 150, 54, "red", "post(&red, f)", "on a worker")
    p.box(220, 30, 170, 54, "box", "f becomes an event", "in recycled memory")
    p.box(440, 30, 190, 54, "red", "the queue of red", "one atomic exchange")
    p.arrow((170, 57), (220, 57))
    p.arrow((390, 57), (440, 57))
    p.arrow((630, 57), (690, 57))
    p.text(660, 47, "busy", "small")
    p.box(690, 30, 150, 54, "box", "done", "its holder finds f")
    p.arrow((535, 84), (535, 130))
    p.text(548, 112, "it was idle", "small", "start")
    p.box(440, 130, 190, 54, "plain", "run queue", "one word for each color")
    p.arrow((630, 157), (690, 157))
    p.box(690, 130, 150, 54, "box", "wake another?", "if it would pay")
    p.arrow((440, 157), (390, 157))
    p.box(220, 130, 170, 54, "worker", "a worker takes red", "with its whole queue")
    p.arrow((305, 184), (305, 236))
    lines = ["a turn of red", "its events, one by one,", "until the budget is spent"]
    p.box(220, 236, 170, 64, "red", *lines)
    p.arrow((390, 268), (535, 268), (535, 184))
    p.text(462, 258, "some are left", "small")
    p.arrow((220, 268), (170, 268))
    p.text(195, 258, "none", "small")
    p.box(20, 241, 150, 54, "box", "red is idle", "one compare-exchange")
    return p


def stealing():
    """What moves, and how a worker finds out whether it should."""
    p = Picture(
        860,
        300,
        "Stealing",
        "An idle worker reads what a busy one publishes, decides whether colors are worth a move, "
        "takes whole colors, and sends them back if the throughput did not rise.",
    )
    p.box(20, 20, 250, 150, "worker")
    p.text(145, 42, "worker 0, busy", "strong")
    p.text(145, 66, "run queue", "small")
    for at, color in enumerate(["red", "blue", "wait", "wait"]):
        p.box(45 + 52 * at, 76, 44, 32, color)
    p.text(145, 134, "publishes: time of an entry,", "small")
    p.text(145, 152, "events exchanged with others", "small")
    p.box(590, 20, 250, 150, "worker")
    p.text(715, 42, "worker 1, idle", "strong")
    p.text(715, 66, "run queue", "small")
    p.box(641, 76, 44, 32, "green")
    p.box(693, 76, 44, 32, "plain")
    p.arrow((270, 92), (590, 92))
    p.text(430, 66, "whole colors: one word each,", "small")
    p.text(430, 82, "however many events wait in it", "small")
    p.text(430, 114, "half of the run queue", "small")
    p.box(20, 210, 250, 60, "box", "worth a move?", "time of an entry, price of a line")
    p.box(305, 210, 250, 60, "box", "on trial for 4 ms", "all workers' events, before and after")
    p.box(590, 210, 250, 60, "box", "kept, or sent back", "and not tried again for a while")
    p.arrow((145, 170), (145, 210))
    p.arrow((270, 240), (305, 240))
    p.arrow((555, 240), (590, 240))
    p.arrow((715, 210), (715, 170))
    return p


def contexts():
    """Four events of a domain, in time."""
    p = Picture(
        860,
        290,
        "Events of a domain",
        "Events by ticket. Event 1 writes, downgrades, and goes on reading beside event 2, which "
        "writes the next version. Event 2 ends first, and commits after event 1. Event 3 reaches "
        "no state and starts at once. Event 4 reads what event 2 wrote. Commits follow the "
        "tickets.",
    )
    rows = [46, 94, 142, 190]
    p.text(56, 26, "ticket", "small")
    for number, y in enumerate(rows, 1):
        p.text(56, y + 17, str(number), "strong")
        p.line(90, y + 12, 476 + 34 * number, y + 12, "wait")
    one, two, three, four = rows
    p.bar(100, one, 110, "red")
    p.bar(210, one, 290, "blue")
    p.bar(210, two, 110, "red")
    p.bar(320, two, 90, "blue")
    p.bar(100, three, 150, "plain")
    p.bar(320, four, 130, "blue")
    p.text(155, one + 17, "global")
    p.text(355, one + 17, "anon: reads its own version")
    p.text(265, two + 17, "global")
    p.text(365, two + 17, "anon")
    p.text(175, three + 17, "none")
    p.text(385, four + 17, "anon")
    for at, y in enumerate(rows):
        p.diamond(510 + 34 * at, y + 12)
    p.text(534, one + 17, "commits: its effects run", "small", "start")
    p.text(568, two + 17, "has waited for 1", "small", "start")
    p.text(602, three + 17, "could start at once", "small", "start")
    p.text(636, four + 17, "read what 2 has written", "small", "start")
    p.arrow((90, 234), (830, 234))
    p.text(830, 254, "time", "small", "end")
    for x, style, name in [
        (90, "red", "writes: one at a time"),
        (290, "blue", "reads a version: many at once"),
        (540, "plain", "reaches no state"),
    ]:
        p.parts.append(f'<rect x="{x}" y="258" width="16" height="16" rx="3" class="{style}"/>')
        p.text(x + 24, 271, name, "small", "start")
    p.diamond(708, 266)
    p.text(724, 271, "commits in order", "small", "start")
    return p


def sleep():
    """The states of a worker, and who changes them."""
    p = Picture(
        860,
        310,
        "How workers sleep",
        "A busy worker without work may spin, then announces that it is idle, looks at its inbox "
        "once more, and parks. A poster that sees an idle worker claims it and unparks it, once.",
    )
    p.box(20, 100, 140, 60, "red", "busy", "runs events")
    p.box(250, 20, 140, 60, "plain", "spinning", "looks at its queues")
    p.box(480, 100, 140, 60, "blue", "idle", "parked in its poller")
    p.box(480, 210, 140, 60, "green", "claimed", "is being woken")
    p.box(250, 210, 140, 60, "box", "away", "the user's thread")
    p.arrow((90, 100), (90, 50), (250, 50))
    p.text(170, 42, "found nothing", "small")
    p.arrow((390, 50), (550, 50), (550, 100))
    p.text(470, 42, "still nothing", "small")
    p.arrow((160, 130), (480, 130))
    p.text(320, 122, "announces, fences, looks at its inbox", "small")
    p.arrow((550, 160), (550, 210))
    p.text(540, 180, "a poster pushes,", "small", "end")
    p.text(540, 196, "fences, sees idle", "small", "end")
    p.arrow((480, 258), (440, 258), (440, 286), (60, 286), (60, 160))
    p.text(250, 302, "is unparked, once, and rises", "small")
    p.arrow((120, 160), (120, 232), (250, 232))
    p.text(185, 224, "leaves the loop", "small")
    p.arrow((390, 232), (480, 232))
    p.text(435, 224, "called", "small")
    p.box(680, 100, 160, 60, "blue", "sentinel", "one of the idle ones")
    p.arrow((620, 130), (680, 130))
    p.text(760, 180, "wakes each millisecond", "small")
    p.text(760, 198, "while another one is busy,", "small")
    p.text(760, 216, "and takes what waits", "small")
    p.text(760, 234, "behind a blocked event", "small")
    return p


PICTURES = {"event": event, "stealing": stealing, "contexts": contexts, "sleep": sleep}


def main():
    stale = []
    for name, draw in PICTURES.items():
        path = FOLDER / f"{name}.svg"
        svg = draw().svg()
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_text() != svg:
                stale.append(path.name)
        else:
            path.write_text(svg)
    if stale:
        sys.exit(f"not what docs/images/draw.py draws: {', '.join(stale)}")


if __name__ == "__main__":
    main()
