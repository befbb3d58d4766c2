"""Shows how far long work is."""
import sys
import time


class Progress:
    """One line on stderr with rate and time left, only once the work takes longer than a second."""

    def __init__(self, total, what="images"):
        self.total, self.what, self.done = total, what, 0
        self.start = self.last = time.monotonic()
        self.on_terminal = sys.stderr.isatty()
        self.shown = False

    def advance(self, count):
        self.done += count
        now = time.monotonic()
        interval = 0.5 if self.on_terminal else 5.0
        if now - self.start < 1 or (now - self.last < interval and self.done < self.total):
            return
        if self.done == self.total and not self.shown:
            return
        self.last, self.shown = now, True
        rate = self.done / (now - self.start)
        left = (self.total - self.done) / rate
        text = (f"{self.done:,} of {self.total:,} {self.what} ({100 * self.done / self.total:.0f} %), "
                f"{rate:,.0f} per second, {left:.0f} s left")
        if self.on_terminal:
            print(f"\r{text:<78}", end="\n" if self.done == self.total else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)
