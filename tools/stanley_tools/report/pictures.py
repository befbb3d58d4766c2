"""Pictures of image states: single tiles for the report's pages and a mosaic as a PNG file."""
import base64
import io

import numpy as np
from PIL import Image


def to_pixels(states, value_range):
    """float states (n, channel, height, width) in value_range → uint8 (n, height, width[, 3])."""
    low, high = value_range
    scaled = (np.nan_to_num(states, nan=low, posinf=high, neginf=low) - low) / (high - low)
    pixels = np.clip(np.rint(255 * scaled), 0, 255).astype(np.uint8)
    return pixels.transpose(0, 2, 3, 1) if pixels.shape[1] == 3 else pixels[:, 0]


def tile(pixels):
    """One image as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def evenly_spaced(states, count):
    """So many of the states, or all where they are fewer: data may be sorted by class."""
    count = min(count, len(states))
    return states[np.arange(count) * len(states) // count]


def beside(left, right, gap=24):
    """Two pictures of one mode on a white ground."""
    ground = Image.new(left.mode, (left.width + gap + right.width, max(left.height, right.height)), "white")
    ground.paste(left, (0, 0))
    ground.paste(right, (left.width + gap, 0))
    return ground


def mosaic(pixels, columns=8, gap=1, least_width=512):
    """All images in rows on a neutral ground, enlarged by a whole factor."""
    rows = -(-len(pixels) // columns)
    columns = min(columns, len(pixels))
    height, width = pixels.shape[1:3]
    ground = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, *pixels.shape[3:]), 128, np.uint8)
    for i, image in enumerate(pixels):
        top, left = (i // columns) * (height + gap) + gap, (i % columns) * (width + gap) + gap
        ground[top:top + height, left:left + width] = image
    factor = max(1, round(least_width / ground.shape[1]))
    return Image.fromarray(ground.repeat(factor, axis=0).repeat(factor, axis=1))
