"""What tools/compare_peers.py compares: the contenders, the networks, and what each table row needs."""
import dataclasses
import math

FLOAT32, BFLOAT16 = "float32", "bfloat16"
# The chain step that all contenders do: x ← clamp(x − (α/2)·∇E + σ·noise).
STEP_SIZE, NOISE = 20.0, 0.005
ENERGY_PENALTY = 0.01  # of the weight step's loss, as objective.energy_penalty
MINIMUM_STEPS = 3  # chain steps in a measurement, however slow they are


@dataclasses.dataclass(frozen=True)
class Contender:
    """kind: torchebm, pytorch, compile or stanley; lean: channels-last and frozen weights."""
    what: str
    kind: str
    precision: str
    lean: bool = True


CONTENDERS = {
    "torchebm": Contender("torchebm LangevinDynamics, float32", "torchebm", FLOAT32, lean=False),
    "pytorch": Contender("PyTorch, float32", "pytorch", FLOAT32, lean=False),
    "pytorch-channels-last": Contender("PyTorch, float32, channels-last, frozen weights", "pytorch", FLOAT32),
    "pytorch-bfloat16": Contender("PyTorch, bfloat16, channels-last, frozen weights", "pytorch", BFLOAT16),
    "compile": Contender("torch.compile, float32, channels-last, frozen weights", "compile", FLOAT32),
    "compile-bfloat16": Contender("torch.compile, bfloat16, channels-last, frozen weights", "compile", BFLOAT16),
    "stanley": Contender("stanley, float32", "stanley", FLOAT32),
    "stanley-bfloat16": Contender("stanley, bfloat16", "stanley", BFLOAT16),
}
REFERENCE = "torchebm"
STANLEY = {FLOAT32: "stanley", BFLOAT16: "stanley-bfloat16"}
# Whom stanley meets in the table: torchebm, which has float32 alone, and the others at their best in its own
# precision.
PEERS = {
    FLOAT32: ("torchebm", "pytorch-channels-last", "compile"),
    BFLOAT16: ("torchebm", "pytorch-bfloat16", "compile-bfloat16"),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A network and its chains on a device; shape: (channel, height, width) of a state."""
    network: str
    channels: int
    shape: tuple
    chains: int
    device: str = "cpu"
    blocks: int = 1
    precisions: tuple = (FLOAT32, BFLOAT16)

    @property
    def title(self):
        blocks = f" and {self.blocks} blocks a level" if self.network == "resnet" and self.blocks > 1 else ""
        place = "" if self.device == "cpu" else ", GPU"
        return (f"{self.network} of {self.channels} channels{blocks}, {self.chains} chains of "
                f"{'×'.join(map(str, self.shape))}{place}")

    @property
    def steps(self):
        """Chain steps in an iteration of stanley, which it measures as one: few where they take seconds."""
        return MINIMUM_STEPS if self.network == "resnet" and self.device == "cpu" else 20

    @property
    def products(self):
        """Multiplications of a forward pass of all chains."""
        per_pixel = 9 * self.shape[0] * self.channels
        per_pixel += (24 if self.network == "convnet" else 114 + 54 * self.blocks) * self.channels**2
        return self.chains * math.prod(self.shape[1:]) * per_pixel

    def contenders(self, precisions=(FLOAT32, BFLOAT16)):
        """Names of all who take part in these precisions."""
        wanted = [p for p in self.precisions if p in precisions]
        names = {name for p in wanted for name in (*PEERS[p], STANLEY[p])}
        return [name for name in CONTENDERS if name in names]


TABLE_CASES = (
    Case("convnet", 16, (1, 32, 32), 64),
    Case("convnet", 32, (3, 32, 32), 128),
    Case("resnet", 64, (3, 32, 32), 64),
    Case("convnet", 32, (3, 32, 32), 128, device="cuda", precisions=(BFLOAT16,)),
    Case("resnet", 128, (3, 32, 32), 128, device="cuda", precisions=(BFLOAT16,)),
)
