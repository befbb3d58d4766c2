"""The quality that is asked for, and the seeds."""
import dataclasses
import math
import re

from .errors import UsageError

MOST_SEED = 2**32 - 1  # run.seed
NAMES = {"kid": "kid_test", "kid_test": "kid_test", "kid_train": "kid_train"}  # to columns of metrics.csv
IMAGES = {"kid_test": "test", "kid_train": "training"}


@dataclasses.dataclass(frozen=True)
class Target:
    """column: of metrics.csv; kid: the KID that must not be exceeded, as the column has it (not times 1000)."""
    column: str
    kid: float

    def reached(self, kid):
        return kid <= self.kid  # nan is not

    def __str__(self):
        return f"KID·1000 to {IMAGES[self.column]} images ≤ {1000 * self.kid:.6g}"


def read_target(text):
    """kid=50 is a KID·1000 of 50, as `stanley evaluate` prints it; so is kid=50/1000, the KID itself."""
    name, equals, value = text.partition("=")
    if not equals or name not in NAMES:
        raise UsageError(f"--target {text}: wants kid=X (to test images), or kid_train=X (to training images), with X "
                         "in the KID·1000 that 'stanley evaluate' prints")
    number = re.fullmatch(r"([0-9.eE+-]+)(/1000)?", value)
    try:
        scaled = float(number[1])
    except (TypeError, ValueError):
        raise UsageError(f"--target {text}: '{value}' is not a number such as 50 (KID·1000) or 50/1000 (KID)")
    if not math.isfinite(scaled) or scaled < 0:
        raise UsageError(f"--target {text}: wants a number from 0; chance alone takes KID below 0, where two laws are "
                         "equal")
    if 0 < scaled < 1 and not number[2]:
        raise UsageError(f"--target {text}: X is KID·1000, and {value} is so small that it may be meant as KID: write "
                         f"{name}={1000 * scaled:.6g} for a KID of {value}, or {name}={value}/1000 for a KID·1000 of "
                         f"{value}")
    return Target(NAMES[name], scaled / 1000)


def read_seeds(text):
    """5: the seeds 1 to 5; 3-7: from 3 to 7."""
    found = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", text)
    if not found:
        raise UsageError(f"--seeds {text}: wants a number of seeds (5), or the first and the last one (3-7)")
    first, last = (1, int(found[1])) if found[2] is None else (int(found[1]), int(found[2]))
    if last < 1 or first > last or last > MOST_SEED:
        raise UsageError(f"--seeds {text}: that is no seed; wants a number from 1, or FIRST-LAST with FIRST ≤ LAST ≤ "
                         f"{MOST_SEED}")
    return list(range(first, last + 1))
