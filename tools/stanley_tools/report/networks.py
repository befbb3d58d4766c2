"""∇E of the built-in networks in numpy: what γ is computed from, without torch.

A network tells its layers by the names and shapes of its weights in a checkpoint (src/energy/plan.cpp).
"""
import h5py
import numpy as np

from ..files import RunError, newest_checkpoint, number, sigmoid


class Activation:
    """f and f′ of the configuration."""

    def __init__(self, run):
        self.leaky = run.setting("energy.activation", "silu") == "leaky_relu"
        self.slope = number(run.setting("energy.slope", 0.2))

    def value(self, z):
        return np.where(z > 0, z, self.slope * z) if self.leaky else z * sigmoid(z)

    def derivative(self, z):
        if self.leaky:
            return np.where(z > 0, 1.0, self.slope)
        s = sigmoid(z)
        return s * (1 + z * (1 - s))


def convolution(x, weight, bias, stride, padding):
    """x (n, channels, height, width), weight (filters, channels, k, k) → (n, filters, ...)."""
    size = weight.shape[-1]
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
    return np.einsum("nchwij,fcij->nfhw", windows, weight, optimize=True) + bias[:, None, None]


def convolution_back(g, weight, stride, padding, shape):
    """The gradient with respect to x, of this shape, of a convolution whose result has the gradient g."""
    height, width = shape[2:]
    size = weight.shape[-1]
    x = np.zeros((*shape[:2], height + 2 * padding, width + 2 * padding))
    rows, columns = stride * g.shape[2], stride * g.shape[3]
    for i in range(size):
        for j in range(size):
            x[:, :, i:i + rows:stride, j:j + columns:stride] += np.einsum("nfhw,fc->nchw", g, weight[:, :, i, j],
                                                                         optimize=True)
    return x[:, :, padding:padding + height, padding:padding + width]


def means(z):
    """Means over 2×2 pixels."""
    return z.reshape(*z.shape[:2], z.shape[2] // 2, 2, z.shape[3] // 2, 2).mean((3, 5))


def means_back(g):
    return 0.25 * g.repeat(2, axis=2).repeat(2, axis=3)


class StateGradient:
    """∇E at states (n, ...), with the weights that chains move by in the newest checkpoint.

    Raises RunError, which says what is missing, for a network that it doesn't know.
    """

    def __init__(self, run):
        self.path = newest_checkpoint(run.directory / "checkpoints")
        if self.path is None:
            raise RunError("no checkpoint is there yet")
        self.kind = run.setting("energy.type")
        if run.setting("energy.spectral_normalization"):
            raise RunError("the network's weights are normalised spectrally, and a checkpoint holds them before that")
        if self.kind not in ("mlp", "convnet", "resnet"):
            raise RunError(f"the gradient of an energy of type {self.kind} takes a program that runs it, and neither "
                           "draws nor checkpoints store it or γ")
        self.activation = Activation(run)
        with h5py.File(self.path, "r") as file:
            group, self.weights = file["parameters"], {}
            group.visititems(lambda name, item: self.weights.update({name.replace("/", "."): item[()].astype(float)})
                             if isinstance(item, h5py.Dataset) else None)

    def __call__(self, x):
        x = x.astype(float)
        if self.kind == "mlp":
            return self.of_mlp(x.reshape(len(x), -1)).reshape(x.shape)
        return self.of_convnet(x) if self.kind == "convnet" else self.of_resnet(x)

    def weight(self, name):
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def of_mlp(self, x):
        f, kept = self.activation, []
        count = sum(name.endswith(".weight") for name in self.weights)
        for i in range(count - 1):
            weight, bias = self.weight(f"layers.{i}")
            x = x @ weight.T + bias
            kept.append(x)
            x = f.value(x)
        g = np.repeat(self.weight(f"layers.{count - 1}")[0], len(x), axis=0)
        for i in reversed(range(count - 1)):
            g = (g * f.derivative(kept[i])) @ self.weight(f"layers.{i}")[0]
        return g

    def layer(self, name, x, halves=False):
        """(what it makes of x, a function from the gradient of that to the gradient of x)."""
        weight, bias = self.weight(name)
        stride, padding = {1: (1, 0), 3: (1, 1), 4: (2, 1)}[weight.shape[-1]]
        z = convolution(x, weight, bias, stride, padding)

        def back(g):
            return convolution_back(means_back(g) if halves else g, weight, stride, padding, x.shape)
        return (means(z) if halves else z), back

    def of_convnet(self, x):
        f, steps = self.activation, []
        for i in range(4):
            three_by_three = self.weight(f"layers.{i}")[0].shape[-1] == 3
            z, back = self.layer(f"layers.{i}", x, halves=i > 0 and three_by_three)
            steps.append((z, back))
            x = f.value(z)
        g = np.repeat(self.weight("layers.4")[0], len(x), axis=0)
        for z, back in reversed(steps):
            g = back(g * f.derivative(z))
        return g

    def of_resnet(self, x):
        f = self.activation
        h, back = self.layer("input", x)
        steps = [back]
        blocks = sorted({tuple(map(int, name.split(".")[1:3])) for name in self.weights if name.startswith("levels.")})
        for level, block in blocks:
            name = f"levels.{level}.{block}."
            h, back = self.residual(name, h, f"{name}skip.weight" in self.weights)
            steps.append(back)
        weight = self.weight("output")[0]
        g = np.broadcast_to(weight[:, :, None, None], h.shape) * f.derivative(h)
        for back in reversed(steps):
            g = back(g)
        return g

    def residual(self, name, h, halves):
        """h ↦ second(f(first(f(h)))) + skip(h), and its way back."""
        f = self.activation
        first, first_back = self.layer(f"{name}first", f.value(h))
        second, second_back = self.layer(f"{name}second", f.value(first), halves)
        skip, skip_back = self.layer(f"{name}skip", h, halves) if halves else (h, lambda g: g)

        def back(g):
            return skip_back(g) + first_back(second_back(g) * f.derivative(first)) * f.derivative(h)
        return second + skip, back


def gain(run, gradient):
    """γ = th / max(th, |∇E|) of each element, with the run's threshold: a number, or each state's own quantile."""
    size = np.abs(gradient).reshape(len(gradient), -1)
    threshold = run.setting("sampler.threshold")
    if isinstance(threshold, dict):
        count = size.shape[1]
        rank = max(1, int(np.ceil(number(threshold.get("quantile")) * count * (1 - 1e-12))))
        threshold = np.partition(size, rank - 1, axis=1)[:, rank - 1:rank]
    else:
        threshold = np.full((len(size), 1), number(threshold))
    with np.errstate(invalid="ignore"):
        result = np.where(threshold > 0, threshold / np.maximum(threshold, size), 1.0)
    return result.reshape(gradient.shape)
