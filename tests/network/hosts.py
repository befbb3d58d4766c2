"""Hosts that share nothing but a network and the file system: namespaces of this machine."""
import contextlib
import dataclasses
import os
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = ("ip", "tc", "unshare", "nsenter", "sysctl", "mpirun")
NAMESPACES = ("--net", "--mount", "--uts")


def reason_to_skip():
    """Why hosts can't be made here; empty where they can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"no {', '.join(missing)}: 'tools/setup.sh --tests' installs it"
    if os.geteuid() != 0:
        return "network namespaces need root"
    trial = subprocess.run(["unshare", *NAMESPACES, "ip", "link", "add", "veth0", "type", "veth", "peer", "name",
                            "veth1"],
                           capture_output=True, text=True)
    if trial.returncode or not os.path.exists("/dev/net/tun"):
        return f"this kernel or container gives no network namespaces with veth and tap: {trial.stderr.strip()}"
    return ""


def entering(process):
    """What starts a command in the namespaces of a process."""
    return ["nsenter", f"--target={process}", *NAMESPACES, f"--wd={os.getcwd()}"]


def commands(process, script):
    """Runs shell commands in the namespaces of a process."""
    result = subprocess.run([*entering(process), "sh", "-e", "-c", script], capture_output=True, text=True,
                            timeout=60)
    assert result.returncode == 0, f"{script}\n{result.stderr}"


@dataclasses.dataclass
class Link:
    """Between each host and the switch."""
    megabits: float | None = None  # per second, each way; None: as fast as it goes
    latency: float = 0  # seconds, from host to host
    loss: float = 0  # probability that a frame is lost


class Hosts:
    """`count` hosts host1, host2, ... at 10.77.0.1, 10.77.0.2, ..., each with a name, a /dev/shm and a
    network interface of its own. tc's tbf limits the links; where there is latency or loss, a process
    of forwarder.cpp stands between them. All ends with the `with` block, or with this process."""

    def __init__(self, count, link=Link(), forwarder=None):
        self.count, self.link, self.forwarder = count, link, forwarder
        self.processes = {}  # host: process that holds its namespaces

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.stack = stack
            self.switch = self.namespaces()
            for number in range(1, self.count + 1):
                self.processes[f"10.77.0.{number}"] = self.namespaces()
                self.connect(number)
            self.join()
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        self.stack.close()

    def start(self, command):
        """A process that says "ready", and ends when its input does: at the latest with ours."""
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.stack.callback(process.wait, 10)
        self.stack.callback(process.stdin.close)
        line = process.stdout.readline()
        assert line == "ready\n", f"{command} did not start: {line}"
        return process

    def namespaces(self):
        return self.start(["unshare", *NAMESPACES, "sh", "-c", "echo ready; exec cat"]).pid

    def connect(self, number):
        """The host's interface eth0, and the switch's end of it."""
        process = self.processes[f"10.77.0.{number}"]
        commands(self.switch, f"""
            ip link add to{number} type veth peer name eth0 netns {process}
            ip link set to{number} up""")
        # No slow start after a pause, and what is lost is sent again after 20 ms: a cluster's network
        # isn't the Internet. On a slow link whose queue is longer than that nothing would be lost.
        # Reno (or cubic, which namespaces may not choose), for BBR sends the short bursts of ranks at the
        # rate that it estimates from their pauses: a reduction took up to 1.4 times as long.
        again = "ip route change 10.77.0.0/24 dev eth0 rto_min 20ms" if self.link.loss else ""
        commands(process, f"""
            hostname host{number}
            mount --make-rprivate /
            mount -t tmpfs tmpfs /dev/shm
            ip link set lo up
            ip address add 10.77.0.{number}/24 dev eth0
            ip link set eth0 up
            {again}
            sysctl -q -w net.ipv4.tcp_slow_start_after_idle=0 net.ipv4.tcp_congestion_control=reno""")
        if self.link.megabits:
            # The queue holds whatever TCP has under way: the link is slow, it loses nothing.
            limit = f"root tbf rate {self.link.megabits}mbit burst 16kb limit 16mb"
            commands(process, f"tc qdisc add dev eth0 {limit}")
            commands(self.switch, f"tc qdisc add dev to{number} {limit}")

    def join(self):
        numbers = range(1, self.count + 1)
        if not (self.link.latency or self.link.loss):
            commands(self.switch, "ip link add bridge type bridge; ip link set bridge up")
            for number in numbers:
                commands(self.switch, f"ip link set to{number} master bridge")
            return
        self.start([*entering(self.switch), self.forwarder, str(self.link.latency), str(self.link.loss),
                    *(f"wire{number}" for number in numbers)])
        for number in numbers:
            commands(self.switch, f"""
                ip link add port{number} type bridge
                ip link set to{number} master port{number}
                ip link set wire{number} master port{number}
                ip link set wire{number} up
                ip link set port{number} up""")

    def mpirun(self, command, ranks_per_host=1, **settings):
        """The command line that runs `command` on all hosts, over TCP alone. `settings`: more MCA
        parameters."""
        first = next(iter(self.processes.values()))
        values = {"plm_rsh_agent": HERE / "agent.sh", "plm_rsh_no_tree_spawn": 1, "pml": "ob1",
                  "btl": "self,tcp" if ranks_per_host == 1 else "self,vader,tcp", "btl_tcp_if_include": "eth0",
                  "oob_tcp_if_include": "eth0", **settings}
        words = [*entering(first), "mpirun", "--quiet", "-n", len(self.processes) * ranks_per_host, "--host",
                 ",".join(f"{host}:{ranks_per_host}" for host in self.processes)]
        words += [part for name, value in values.items() for part in ("--mca", name, value)]
        return [str(word) for word in [*words, *command]]

    def environment(self):
        """What agent.sh finds the hosts by."""
        return {"STANLEY_HOSTS": " ".join(f"{host}={process}" for host, process in self.processes.items())}
