#!/usr/bin/env python3
"""A real Slurm on this one machine: munged, slurmctld and a slurmd for each of eight nodes, on loopback alone.

`tests/slurm/cluster.py COMMAND...` starts it, runs the command in it, and stops it; for example
`tests/slurm/cluster.py bash`. It needs root and the packages of tools/setup.sh --tests.
"""
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

NODES = tuple(f"node{number}" for number in range(1, 9))
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "unshare", "setpriv")

# Pairs of nodes: `batch` for what shares nodes in peace, `scavenger` whose jobs those of `urgent` displace
# after a minute, `fragile` whose nodes may die, `whole` for jobs that want nodes to themselves; `all` is asked
# whether it would take a job.
SLURM_CONF = """
ClusterName=virtual
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n/spool
TmpFS={folder}/%n/tmp
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmctldParameters=preempt_send_user_signal
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=5
SlurmdTimeout=20
MinJobAge=600
GresTypes=gpu
PartitionName=batch Nodes=node1,node2 Default=YES MaxTime=60
PartitionName=scavenger Nodes=node3,node4 MaxTime=60 PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=node3,node4 MaxTime=60 PriorityTier=2 PreemptMode=OFF
PartitionName=fragile Nodes=node5,node6 MaxTime=60
PartitionName=whole Nodes=node7,node8 MaxTime=60
PartitionName=all Nodes=ALL
"""
# More CPUs than this machine has: jobs wait for each other only where a test wants them to.
NODE_CONF = "NodeName={node} NodeAddr=127.0.0.1 NodeHostname=localhost Port={port} CPUs=32 Gres=gpu:2\n"
# For jobs that ask for GPUs: two devices that every machine has, and that nobody opens.
GRES_CONF = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"


def why_not():
    """Why there can be no cluster here; empty if there can."""
    missing = [name for name in PROGRAMS if program(name) is None]
    if missing:
        return f"no {', '.join(missing)}: tools/setup.sh --tests installs Slurm on Debian"
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    probe = subprocess.run(["unshare", "--mount", "--uts", "mount", "-t", "tmpfs", "none", "/dev/shm"],
                           capture_output=True, text=True)
    return "" if probe.returncode == 0 else f"this container may not unshare: {probe.stderr.strip()}"


def program(name):
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster:
    """Started by `with`, and stopped, with all its jobs, at the end of it."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.daemons = {}
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"),
                            "OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,vader,tcp",
                            "OMPI_MCA_btl_tcp_if_include": "lo", "OMPI_MCA_mpi_yield_when_idle": "1"}

    def __enter__(self):
        try:
            self.write_configuration()
            self.start("munged", "munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket",
                       f"--key-file={self.folder}/munge.key", f"--pid-file={self.folder}/munge.pid",
                       f"--log-file={self.folder}/munge.log", f"--seed-file={self.folder}/munge.seed")
            self.wait_for(lambda: (self.folder / "munge.socket").exists(), "munged")
            self.start("slurmctld", "slurmctld", "-D", "-c")
            for node in NODES:
                self.start_node(node)
            self.wait_for(lambda: set(self.node_states()) == {"idle"}, "idle nodes")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        for process in self.processes():  # jobs and their keepers too
            kill(process)
        for daemon in self.daemons.values():
            daemon.wait()

    def write_configuration(self):
        ports = free_ports(1 + len(NODES))
        for name in ("state", *(f"{node}/{part}" for node in NODES for part in ("spool", "tmp"))):
            (self.folder / name).mkdir(parents=True)
        nodes = "".join(NODE_CONF.format(node=node, port=port) for node, port in zip(NODES, ports[1:]))
        head, *partitions = SLURM_CONF.format(folder=self.folder, ports=ports).partition("PartitionName")
        (self.folder / "slurm.conf").write_text("".join([head, nodes, *partitions]))
        # Without, slurmd looks for a systemd that isn't there.
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (self.folder / "gres.conf").write_text(GRES_CONF)
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)

    def start(self, name, command, *arguments):
        """A daemon, which doesn't outlive this process."""
        with open(self.folder / f"{name}.output", "ab") as output:
            self.daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", program(command), *arguments], env=self.environment,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)

    def start_node(self, node):
        """A slurmd with a host name and a /dev/shm of its own: ranks of two nodes share nothing."""
        script = f"hostname {node} && mount -t tmpfs none /dev/shm && exec {program('slurmd')} -D -c -N {node}"
        self.start(node, "unshare", "--mount", "--uts", "sh", "-c", script)

    def processes(self):
        """Every process of this cluster: those that know its configuration."""
        mark = f"SLURM_CONF={self.folder}/slurm.conf".encode()
        return [process for process, variables in environments() if mark in variables]

    def processes_of(self, node):
        """Those that would die with a node: they have its /dev/shm."""
        namespace = os.readlink(f"/proc/{self.daemons[node].pid}/ns/mnt")
        return [process for process in self.processes() if mount_namespace(process) == namespace]

    def lose_node(self, node):
        """As if its power failed."""
        for process in self.processes_of(node):
            kill(process)
        self.daemons.pop(node).wait()
        for socket_file in (self.folder / node / "spool").glob("stepd.slurm.pmix.*"):
            socket_file.unlink()  # nobody listens any more

    def call(self, *command, check=True, **more):
        """Runs a command in the cluster; what it printed."""
        result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60,
                                env={**self.environment, **more})
        assert not check or result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return result.stdout.strip()

    def node_states(self):
        return self.call("sinfo", "--noheader", "--Node", "--format=%t", check=False).split()

    def wait_for(self, condition, what, limit=60):
        deadline = time.monotonic() + limit
        while not condition():
            for name, daemon in dict(self.daemons).items():
                output = self.folder / f"{name}.output"
                assert daemon.poll() is None, f"{name} ended:\n{output.read_text()}"
            assert time.monotonic() < deadline, f"no {what} within {limit} s"
            time.sleep(0.2)


def environments():
    """Process numbers, and the environment variables of each as bytes."""
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            yield int(path.parent.name), path.read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue


def mount_namespace(process):
    try:
        return os.readlink(f"/proc/{process}/ns/mnt")
    except OSError:
        return None


def kill(process):
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        pass


def main():
    reason = why_not()
    if reason or len(sys.argv) < 2:
        sys.exit(f"no virtual cluster: {reason}" if reason else __doc__.strip())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, Cluster(folder) as cluster:
        return subprocess.run(sys.argv[1:], env=cluster.environment).returncode


if __name__ == "__main__":
    sys.exit(main())
