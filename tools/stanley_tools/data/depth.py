"""Brings numbers of any depth to 8 bits, by rules that the user can read and overrule with --range."""
import numpy as np

from .errors import InputError, say

BITS_12 = 4096


class Depth:
    """Turns values into bytes, and remembers by which rules and how far the 16-bit values reached."""

    def __init__(self, limits=None):
        self.limits = limits  # --range: what becomes 0 and what becomes 255
        self.rules = []
        self.largest = None  # of all 16-bit values

    def to_bytes(self, values, name):
        """The values as uint8; complains of one that the rule of its type has no place for."""
        if values.dtype == bool:
            return self.follow("false is 0 and true is 255", values * np.uint8(255))
        if values.dtype.kind not in "iuf":
            raise InputError(f"{name} holds values of type {values.dtype}, expected numbers.")
        if self.limits is not None:
            return self.stretch(values, name)
        if values.dtype == np.uint8:
            return values
        if values.dtype.kind == "f":
            check(values, 0, 1, name, "floats must lie in 0 to 1")
            scaled = rounded(values * np.float64(255))
            return self.follow("floats in 0 to 1: 255 times their value, rounded", scaled)
        if values.dtype.kind == "u" and values.dtype.itemsize == 2:
            self.largest = max(self.largest or 0, int(values.max()))
            return self.follow("16-bit values: their upper 8 bits", (values >> 8).astype(np.uint8))
        check(values, 0, 255, name, f"integers of type {values.dtype.newbyteorder('=')} must lie in 0 to 255")
        return values.astype(np.uint8)

    def stretch(self, values, name):
        low, high = self.limits
        check(values, low, high, name, f"--range says {low:g} to {high:g}", "give a range that holds all values.")
        scaled = (values.astype(np.float64) - low) * 255 / (high - low)
        return self.follow(f"--range: {low:g} is 0 and {high:g} is 255, rounded", rounded(scaled))

    def follow(self, rule, values):
        if rule not in self.rules:
            self.rules.append(rule)
        return values

    def finish(self):
        """Tells which rules were followed; complains of 16-bit files that hold 8-bit values."""
        if self.largest is not None and self.largest < 256:
            raise InputError(f"the 16-bit values of the source reach only {self.largest}, so that their upper "
                             "8 bits are 0: use --range 0,255 to take them as they are, or --range 0,65535.")
        for rule in self.rules:
            say(f"values: {rule}")
        if self.largest is not None and self.largest < BITS_12:
            say(f"the 16-bit values reach only {self.largest}, so that the images are dark: "
                f"--range 0,{self.largest} would use all of 0 to 255")


def rounded(values):
    return np.rint(values).astype(np.uint8)


ASK_FOR_RANGE = "use --range LOW,HIGH to say which values become 0 and 255."


def check(values, low, high, name, rule, advice=ASK_FOR_RANGE):
    inside = (values >= low) & (values <= high)  # false for NaN
    if not inside.all():
        value = values[~inside].flat[0]
        if np.isnan(value):
            raise InputError(f"{name} holds a value that is no number (NaN): mend it, or leave that image out.")
        raise InputError(f"{name} holds the value {value}, but {rule}: {advice}")
