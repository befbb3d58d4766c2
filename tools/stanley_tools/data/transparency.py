"""Composes what is transparent on a background, so that hidden colours never become data."""
import numpy as np
from PIL import ImageColor

from .errors import counted, say


class Background:
    """The colour below transparent parts (--background), and how many pictures were composed on it."""

    def __init__(self, name):
        self.name, self.colour = name, ImageColor.getrgb(name)[:3]
        self.is_grey = len(set(self.colour)) == 1
        self.composed = 0

    def below(self, colours, alpha):
        """uint8 (height, width, 3), or 1 on a grey background, seen through alpha (height, width)."""
        self.composed += 1
        alpha = alpha.astype(np.uint32)[..., None]
        background = np.array(self.colour[:colours.shape[-1]], np.uint32)
        return ((colours * alpha + background * (255 - alpha) + 127) // 255).astype(np.uint8)

    def finish(self):
        if self.composed:
            say(f"{counted(self.composed, 'picture')} with transparent parts: composed on {self.name} "
                "(--background)")
