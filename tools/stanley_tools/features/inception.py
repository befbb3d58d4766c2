"""The Inception network of 2015-12-05, on which published FIDs stand, from a file of weights that its user brings, and
how three conventions prepare images for it.
"""
from ..data.errors import InputError, first_line

SIZE, FEATURES = 299, 2048
NAME = "inception-2015-12-05"
# What lies in files of 8 bits is resized, and normalised to −1 to 1 or nearly so.
CONVENTIONS = {
    "tensorflow": {"range": [0.0, 255.0], "mean": [128.0] * 3, "deviation": [128.0] * 3,
                   "resize": "bilinear_tensorflow1"},
    "pytorch-fid": {"range": [0.0, 1.0], "mean": [0.5] * 3, "deviation": [0.5] * 3, "resize": "bilinear"},
    "clean-fid": {"range": [0.0, 255.0], "mean": [128.0] * 3, "deviation": [128.0] * 3, "resize": "bicubic_antialias"},
}


def build():
    """The network up to its mean over positions, [n, 3, 299, 299] → [n, 2048], with the names of its weights in the
    files of pytorch-fid and torch-fidelity. Means in it leave out padded zeros, as TensorFlow's do."""
    import torch
    from torch import nn
    from torch.nn.functional import avg_pool2d, max_pool2d

    class Convolution(nn.Module):
        def __init__(self, before, after, size, stride=1, padding=0):
            super().__init__()
            self.conv = nn.Conv2d(before, after, size, stride, padding, bias=False)
            self.bn = nn.BatchNorm2d(after, eps=0.001)

        def forward(self, x):
            return torch.relu(self.bn(self.conv(x)))

    def mean_around(x):
        return avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)

    def greatest_around(x):
        return max_pool2d(x, 3, stride=1, padding=1)

    class Mixed(nn.Module):
        """Branches beside each other. A branch is a list of names of its convolutions, one after the other; a list in
        it: several, each of what came before. `pool` goes before the branch `branch_pool`; without a convolution of that
        name it is a branch itself."""

        def __init__(self, convolutions, branches, pool):
            super().__init__()
            for name, shape in convolutions.items():
                setattr(self, name, Convolution(*shape))
            self.branches, self.pool = branches, pool

        def follow(self, x, branch):
            for step in branch:
                if isinstance(step, str):
                    x = getattr(self, step)(x)
                else:
                    x = torch.cat([getattr(self, name)(x) for name in step], 1)
            return x

        def forward(self, x):
            pooled = self.pool(x)
            last = self.branch_pool(pooled) if hasattr(self, "branch_pool") else pooled
            return torch.cat([*(self.follow(x, branch) for branch in self.branches), last], 1)

    def mixed_5(before, pooled):
        return Mixed({"branch1x1": (before, 64, 1), "branch5x5_1": (before, 48, 1), "branch5x5_2": (48, 64, 5, 1, 2),
                      "branch3x3dbl_1": (before, 64, 1), "branch3x3dbl_2": (64, 96, 3, 1, 1),
                      "branch3x3dbl_3": (96, 96, 3, 1, 1), "branch_pool": (before, pooled, 1)},
                     [["branch1x1"], ["branch5x5_1", "branch5x5_2"],
                      ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"]], mean_around)

    def mixed_6a():
        return Mixed({"branch3x3": (288, 384, 3, 2), "branch3x3dbl_1": (288, 64, 1),
                      "branch3x3dbl_2": (64, 96, 3, 1, 1), "branch3x3dbl_3": (96, 96, 3, 2)},
                     [["branch3x3"], ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"]],
                     lambda x: max_pool2d(x, 3, stride=2))

    def mixed_6(n):
        wide, high = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
        return Mixed({"branch1x1": (768, 192, 1), "branch7x7_1": (768, n, 1), "branch7x7_2": (n, n, *wide),
                      "branch7x7_3": (n, 192, *high), "branch7x7dbl_1": (768, n, 1), "branch7x7dbl_2": (n, n, *high),
                      "branch7x7dbl_3": (n, n, *wide), "branch7x7dbl_4": (n, n, *high),
                      "branch7x7dbl_5": (n, 192, *wide), "branch_pool": (768, 192, 1)},
                     [["branch1x1"], [f"branch7x7_{i}" for i in (1, 2, 3)], [f"branch7x7dbl_{i}" for i in range(1, 6)]],
                     mean_around)

    def mixed_7a():
        return Mixed({"branch3x3_1": (768, 192, 1), "branch3x3_2": (192, 320, 3, 2), "branch7x7x3_1": (768, 192, 1),
                      "branch7x7x3_2": (192, 192, (1, 7), 1, (0, 3)), "branch7x7x3_3": (192, 192, (7, 1), 1, (3, 0)),
                      "branch7x7x3_4": (192, 192, 3, 2)},
                     [["branch3x3_1", "branch3x3_2"], [f"branch7x7x3_{i}" for i in range(1, 5)]],
                     lambda x: max_pool2d(x, 3, stride=2))

    def mixed_7(before, pool):
        wide, high = ((1, 3), 1, (0, 1)), ((3, 1), 1, (1, 0))
        return Mixed({"branch1x1": (before, 320, 1), "branch3x3_1": (before, 384, 1), "branch3x3_2a": (384, 384, *wide),
                      "branch3x3_2b": (384, 384, *high), "branch3x3dbl_1": (before, 448, 1),
                      "branch3x3dbl_2": (448, 384, 3, 1, 1), "branch3x3dbl_3a": (384, 384, *wide),
                      "branch3x3dbl_3b": (384, 384, *high), "branch_pool": (before, 192, 1)},
                     [["branch1x1"], ["branch3x3_1", ["branch3x3_2a", "branch3x3_2b"]],
                      ["branch3x3dbl_1", "branch3x3dbl_2", ["branch3x3dbl_3a", "branch3x3dbl_3b"]]], pool)

    class Inception(nn.Module):
        def __init__(self):
            super().__init__()
            self.Conv2d_1a_3x3 = Convolution(3, 32, 3, 2)
            self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
            self.Conv2d_2b_3x3 = Convolution(32, 64, 3, 1, 1)
            self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
            self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
            self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = mixed_5(192, 32), mixed_5(256, 64), mixed_5(288, 64)
            self.Mixed_6a = mixed_6a()
            self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (mixed_6(n) for n in (128, 160, 160, 192))
            self.Mixed_7a = mixed_7a()
            self.Mixed_7b, self.Mixed_7c = mixed_7(1280, mean_around), mixed_7(2048, greatest_around)

        def forward(self, x):
            x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
            x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(max_pool2d(x, 3, stride=2)))
            x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(max_pool2d(x, 3, stride=2))))
            x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
            return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))

    return Inception()


def layers_of(script):
    """Those of NVIDIA's TorchScript file, which take what was resized and normalised before."""
    from torch import nn

    class Layers(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = script.layers

        def forward(self, x):
            return self.layers(x).reshape(x.shape[0], FEATURES)

    return Layers()


def load(path):
    """The network with the weights of a file: a state dict with names as pytorch-fid's and torch-fidelity's files have
    them, or NVIDIA's TorchScript module, which has `layers`."""
    import torch

    if not path.is_file():
        raise InputError(f"{path} isn't there: expected the weights of the Inception network of 2015-12-05")
    try:
        script = torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError):
        script = None
    if script is not None:
        if not hasattr(script, "layers"):
            raise InputError(f"{path} is a TorchScript module without `layers`: expected NVIDIA's "
                             "inception-2015-12-05.pt, or a state dict of pytorch-fid")
        return layers_of(script)
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        network = build()
        network.load_state_dict({name: value for name, value in weights.items() if not name.startswith("fc.")})
    except Exception as error:  # torch.load raises whatever it meets
        raise InputError(f"{path} holds no weights of the Inception network of 2015-12-05 as pytorch-fid has them "
                         f"({first_line(error)})") from error
    return network


def inception_network(path, convention):
    """A TorchScript module for `stanley evaluate`, and its description."""
    import torch

    network = load(path).eval().requires_grad_(False)
    module = torch.jit.trace(network, torch.zeros(2, 3, SIZE, SIZE))
    return module, {
        "name": f"{NAME}, {convention}",
        "source": f"weights of {path.name}",
        "dimension": FEATURES,
        "input": {"channels": 3, "height": SIZE, "width": SIZE, **CONVENTIONS[convention], "eight_bits": True},
    }
