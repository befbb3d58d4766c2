"""γ as a picture beside its image: of the bank of the newest checkpoint, under that checkpoint's weights."""
import h5py
import matplotlib
import numpy as np

from ..files import MAXIMUM_CHAINS, RunError, first_line
from . import pictures
from .markup import card, short
from .networks import StateGradient, gain

PAIRS = 16
COLOURS = matplotlib.colormaps["viridis"]


def gain_card(run):
    """The card; a remark of the run's, and nothing, where γ can't be computed."""
    if run.setting("sampler.type", "stanley") != "stanley":
        return ""  # γ = 1 everywhere
    try:
        gradient = StateGradient(run)
        x, ages, iteration = bank(gradient.path)
        gamma = gain(run, gradient(x))
    except (RunError, OSError, KeyError, ValueError, IndexError, TypeError) as error:
        run.remarks.append(f"γ isn't shown as a picture: {first_line(error)}.")
        return ""
    pixels = pictures.to_pixels(x, run.interval("data.range", (-1.0, 1.0)))
    colours = (255 * COLOURS(gamma.mean(axis=1))[..., :3]).astype(np.uint8)
    pairs = "".join(pair(image, picture, age, share) for image, picture, age, share in zip(
        pixels, colours, ages, gamma.reshape(len(gamma), -1).mean(axis=1)))
    channels = ", the mean over the channels" if x.shape[1] > 1 else ""
    scale = pictures.tile(np.repeat((255 * COLOURS(np.linspace(0, 1, 128))[None, :, :3]).astype(np.uint8), 8, axis=0))
    return card(f"γ beside its image (iteration {iteration:,})",
                f'<div class="pairs">{pairs}</div>'
                f'<p class="scale">γ = 0 <img alt="dark is 0, bright is 1" src="{scale}"> 1{channels}</p>',
                f"The first {len(x)} chains of the newest checkpoint that have the median age or more, with the sampler's "
                "noise, and γ of each pixel under its weights; below each its age and mean γ. "
                "Dark: |∇E| is large there, and γ slows the step. Healthy: dark places follow the picture. Not: one "
                "colour (γ does nothing), the same places in all chains (a ground pressed against the box), or a grid "
                "that no image has.", wide=True)


def bank(path):
    """States (n, channel, height, width) and ages of the first old chains, and the checkpoint's iteration."""
    with h5py.File(path, "r") as file:
        states = file["chains/state"]
        if states.ndim != 4:
            raise RunError("the chains are no images")
        ages = file["chains/age"][:MAXIMUM_CHAINS]
        chosen = np.flatnonzero(ages >= np.median(ages))[:PAIRS]
        x = np.stack([states[int(i)] for i in chosen]).astype(np.float32)
        return x, ages[chosen], int(file.attrs["iteration"])


def pair(image, picture, age, share):
    return (f'<figure><div><img alt="chain" src="{pictures.tile(image)}"><img alt="γ" src="{pictures.tile(picture)}">'
            f"</div><figcaption>{short(float(age))} · γ {share:.2f}</figcaption></figure>")
