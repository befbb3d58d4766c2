"""Counters of the joules that this machine uses: of its processors (RAPL) and of NVIDIA's GPUs (NVML)."""
import ctypes
import os
import pathlib
import re

POWERCAP = pathlib.Path("/sys/class/powercap")


def number_in(path):
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


class Processors:
    """Of all processors of this node, whoever uses them. The counters begin at 0 again after their range, which takes
    minutes: read them more often."""

    def __init__(self, folder=POWERCAP):
        packages = [path for path in folder.glob("intel-rapl:*") if re.fullmatch(r"intel-rapl:\d+", path.name)]
        self.files = [path / "energy_uj" for path in sorted(packages)]
        self.ranges = [number_in(path / "max_energy_range_uj") for path in sorted(packages)]
        self.last = [number_in(file) for file in self.files]
        self.joules = 0.0
        self.there = bool(self.files) and None not in self.last + self.ranges

    def read(self):
        """Joules since the beginning; None where there is no counter, or it can't be read."""
        now = [number_in(file) for file in self.files]
        if not self.there or None in now:
            self.there = False  # for good: a part is no answer
            return None
        for before, after, most in zip(self.last, now, self.ranges):
            self.joules += 1e-6 * (after - before + (most if after < before else 0))
        self.last = now
        return self.joules


class Gpus:
    """Of the GPUs that CUDA_VISIBLE_DEVICES leaves, whoever uses them."""

    def __init__(self, library="libnvidia-ml.so.1"):
        self.handles, self.there = [], False
        try:
            self.nvml = ctypes.CDLL(library)
            if self.nvml.nvmlInit_v2() == 0:
                self.handles = self._visible()
        except (OSError, AttributeError):
            return
        self.first = self._millijoules()
        self.there = self.first is not None

    def _visible(self):
        count = ctypes.c_uint()
        self.nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        names = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        found = []
        for name in names or range(count.value):
            handle = ctypes.c_void_p()
            if str(name).isdecimal():
                code = self.nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(name)), ctypes.byref(handle))
            else:
                code = self.nvml.nvmlDeviceGetHandleByUUID(str(name).encode(), ctypes.byref(handle))
            if code != 0:
                return []
            found.append(handle)
        return found

    def _millijoules(self):
        sums = 0
        for handle in self.handles:
            energy = ctypes.c_ulonglong()
            if self.nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(energy)) != 0:
                return None
            sums += energy.value
        return sums if self.handles else None

    def read(self):
        """Joules since the beginning; None where there is no such GPU, or it doesn't count."""
        now = self._millijoules() if self.there else None
        self.there = now is not None
        return None if now is None else (now - self.first) / 1000


class Meters:
    """Both; of one node, and so of none where a job has several."""

    def __init__(self, nodes=1, processors=Processors, gpus=Gpus):
        self.parts = {"processors": processors(), "gpus": gpus()} if nodes == 1 else {}

    def read(self):
        return {name: self.parts[name].read() if self.parts else None for name in ("processors", "gpus")}
