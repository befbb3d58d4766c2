"""tools/export_features.py --inception: the network of 2015 from a user's file, with a convention of FID."""
import json
import pathlib
import sys

import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))

from stanley_tools.features import inception  # noqa: E402
from stanley_tools.features.export import main  # noqa: E402


class Layers(torch.nn.Module):
    """In the place of NVIDIA's: 2048 numbers of an image of 299×299."""

    def forward(self, x):
        assert x.shape[1:] == (3, 299, 299)
        return x.mean((2, 3)).repeat(1, 683)[:, :2048].reshape(x.shape[0], 2048, 1, 1)


class Nvidias(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = Layers()

    def forward(self, x):
        return self.layers(x)


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("nvidia") / "inception-2015-12-05.pt"
    torch.jit.trace(Nvidias(), torch.zeros(1, 3, 299, 299)).save(str(path))
    return path


@pytest.mark.parametrize("convention", ["tensorflow", "pytorch-fid", "clean-fid"])
def test_a_torchscript_file_with_each_convention(script, tmp_path, convention):
    output = tmp_path / "inception.pt"
    assert main(["--inception", str(script), "--convention", convention, "--output", str(output)]) == 0
    described = json.loads(output.with_suffix(".json").read_text())
    shown = described["input"]
    assert described["dimension"] == 2048 and (shown["channels"], shown["height"], shown["width"]) == (3, 299, 299)
    # Black is −1 and white is 1, or 127/128 where the graph divides bytes by 128.
    ends = [(end - shown["mean"][0]) / shown["deviation"][0] for end in shown["range"]]
    assert ends == ([-1, 1] if convention == "pytorch-fid" else [-1, 127 / 128]) and shown["eight_bits"]
    assert shown["resize"] == {"tensorflow": "bilinear_tensorflow1", "pytorch-fid": "bilinear",
                               "clean-fid": "bicubic_antialias"}[convention]
    images = torch.rand(5, 3, 299, 299)
    features = torch.jit.load(str(output))(images)
    assert features.shape == (5, 2048) and torch.allclose(features[:, :3], images.mean((2, 3)), atol=1e-5)


def test_a_state_dict_is_read_by_the_names_of_pytorch_fid(tmp_path):
    torch.manual_seed(1)
    network = inception.build().eval()
    names = network.state_dict()
    assert sum(p.numel() for p in network.parameters()) == 21785568  # of Inception v3 without its last layer
    for name, shape in (("Conv2d_1a_3x3.conv.weight", (32, 3, 3, 3)), ("Mixed_5b.branch_pool.bn.running_var", (32,)),
                        ("Mixed_6b.branch7x7dbl_5.conv.weight", (192, 128, 1, 7)),
                        ("Mixed_7c.branch3x3dbl_3b.conv.weight", (384, 384, 3, 1))):
        assert tuple(names[name].shape) == shape
    path = tmp_path / "weights.pth"
    torch.save({**names, "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}, path)
    images = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        expected, found = network(images), inception.load(path).eval()(images)
    assert found.shape == (1, 2048) and torch.equal(found, expected) and found.std() > 0


def test_refuses_files_that_are_none(script, tmp_path, capsys):
    output = ["--output", str(tmp_path / "no.pt"), "--convention", "clean-fid", "--inception"]
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("no weights")
    torch.jit.trace(Layers(), torch.zeros(1, 3, 299, 299)).save(str(tmp_path / "script.pt"))
    for name, words in (("none.pth", "isn't there"), ("other.pth", "holds no weights"), ("text.pth", "holds no weights"),
                        ("script.pt", "without `layers`")):
        assert main([*output, str(tmp_path / name)]) == 5
        said = capsys.readouterr().err
        assert words in said and name in said and "\n" not in said.strip()
    for arguments in (["--inception", str(script)], ["--convention", "clean-fid"],
                      ["--inception", str(script), "--convention", "other"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    assert not (tmp_path / "no.pt").exists()
