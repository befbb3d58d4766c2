"""Hosts that share nothing but a network: namespaces of this machine, with veth between them."""
import contextlib
import dataclasses
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def commands(process, script):
    """Runs shell commands in the namespaces of a process."""
    result = subprocess.run([*entering(process), "sh", "-e", "-c", script], capture_output=True, text=True,
                            timeout=60)
    assert result.returncode == 0, f"{script}\n{result.stderr}"


def entering(process):
    return ["nsenter", f"--target={process}", "--net", "--mount", "--uts", f"--wd={os.getcwd()}"]


@dataclasses.dataclass
class Link:
    """Between each host and the switch. No bandwidth: none is set."""
    megabits: float | None = None  # per second, each way
    latency: float = 0  # seconds, from host to host
    loss: float = 0  # probability that a frame is lost


class Hosts:
    """`count` hosts host1, host2, ...: 10.77.0.1, 10.77.0.2, ..., each with a /tmp, a /dev/shm, a name
    and a network interface of its own. They end with the `with` block, or with this process."""

    def __init__(self, count, link=Link(), forwarder=None):
        self.names = [f"host{number}" for number in range(1, count + 1)]
        self.link, self.forwarder = link, forwarder

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        try:
            self.switch = self.namespace()
            self.processes = {name: self.namespace() for name in self.names}
            self.connect()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *exception):
        self.stack.close()

    def namespace(self):
        """The number of a process that holds new namespaces until its input ends."""
        return self.start(["unshare", "--net", "--mount", "--uts", "sh", "-c", "echo ready; exec cat"]).pid

    def start(self, command):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.stack.callback(process.wait, 10)
        self.stack.callback(process.stdin.close)
        line = process.stdout.readline()
        assert line == "ready\n", f"{command} did not start: {line}"
        return process

    def connect(self):
        commands(self.switch, "ip link set lo up; ip link add bridge type bridge; ip link set bridge up")
        shaping = ""
        if self.link.megabits:
            # The queue holds whatever TCP has under way: bandwidth is limited, nothing is lost.
            shaping = f"root tbf rate {self.link.megabits}mbit burst 16kb limit 16mb"
        for number, (name, process) in enumerate(self.processes.items(), 1):
            commands(self.switch, f"ip link add to{number} type veth peer name eth0 netns {process};"
                                  f"ip link set to{number} up")
            commands(process, f"""
                hostname {name}
                mount --make-rprivate /
                mount -t tmpfs tmpfs /dev/shm
                ip link set lo up
                ip address add 10.77.0.{number}/24 dev eth0
                ip link set eth0 up
                ip route change 10.77.0.0/24 dev eth0 rto_min 20ms
                sysctl -q -w net.ipv4.tcp_slow_start_after_idle=0 net.ipv6.conf.all.disable_ipv6=1""")
            if shaping:
                commands(process, f"tc qdisc add dev eth0 {shaping}")
                commands(self.switch, f"tc qdisc add dev to{number} {shaping}")
        self.join()

    def join(self):
        numbers = range(1, len(self.names) + 1)
        if not (self.link.latency or self.link.loss):
            for number in numbers:
                commands(self.switch, f"ip link set to{number} master bridge")
            return
        taps = [f"wire{number}" for number in numbers]
        self.start([*entering(self.switch), self.forwarder, str(self.link.latency), str(self.link.loss), *taps])
        for number in numbers:
            commands(self.switch, f"""
                ip link add port{number} type bridge
                ip link set to{number} master port{number}
                ip link set wire{number} master port{number}
                ip link set wire{number} up
                ip link set port{number} up""")

    def mpirun(self, ranks, command):
        """The command line that starts `command` on `ranks` ranks, dealt to the hosts in order."""
        each = ranks // len(self.names)
        agent = [sys.executable, HERE / "agent.py"]
        return [*entering(self.processes[self.names[0]]), "mpirun", "--quiet", "-n", ranks,
                "--host", ",".join(f"10.77.0.{n}:{each}" for n in range(1, len(self.names) + 1)),
                *self.settings(), *command]

    def settings(self):
        values = {"plm_rsh_agent": HERE / "agent.sh", "btl": "self,tcp", "btl_tcp_if_include": "eth0", "oob_tcp_if_include": "eth0",
                  "pml": "ob1", "plm_rsh_no_tree_spawn": 1}
        return [part for name, value in values.items() for part in ("--mca", name, value)]

    def environment(self):
        return {"STANLEY_HOSTS": " ".join(f"10.77.0.{n}={process}" for n, process in
                                          enumerate(self.processes.values(), 1))}
