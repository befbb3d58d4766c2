#!/usr/bin/env python3
"""A real Slurm of two nodes on this one machine: munged, slurmctld, two slurmd, on loopback alone.

`tests/slurm/cluster.py COMMAND...` starts it, runs the command in it, and stops it; for example
`tests/slurm/cluster.py bash`.
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

NODES = ("node1", "node2")
CPUS = 4  # of each node, whatever this machine has
DAEMONS = ("munged", "slurmctld", "slurmd", "unshare")

# Two partitions of the same nodes; jobs of `urgent` displace those of `batch`, which have a minute.
SLURM_CONF = """
ClusterName=virtual
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
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
SchedulerParameters=bf_interval=2,sched_min_interval=100000,sched_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=5
SlurmdTimeout=10
MinJobAge=600
GresTypes=gpu
NodeName=node1 NodeAddr=127.0.0.1 NodeHostname=localhost Port={ports[0]} CPUs={cpus} Gres=gpu:2
NodeName=node2 NodeAddr=127.0.0.1 NodeHostname=localhost Port={ports[1]} CPUs={cpus} Gres=gpu:2
PartitionName=batch Nodes=node1,node2 Default=YES MaxTime=60 PriorityTier=1 GraceTime=60 OverSubscribe=NO
PartitionName=urgent Nodes=node1,node2 MaxTime=60 PriorityTier=2 PreemptMode=OFF
"""
# For jobs that ask for GPUs: their files, which nobody opens.
GRES_CONF = "Name=gpu File=/dev/tty[0-1]\n"


def why_not():
    """Why there can be no cluster here; empty if there can."""
    missing = [name for name in (*DAEMONS, "sbatch", "srun") if program(name) is None]
    if missing:
        return f"no {', '.join(missing)}: tools/setup.sh --tests installs Slurm on Debian"
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    probe = subprocess.run(["unshare", "--mount", "--uts", "true"], capture_output=True, text=True)
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
                            "OMPI_MCA_btl": "self,vader,tcp", "OMPI_MCA_btl_tcp_if_include": "lo",
                            "OMPI_MCA_pml": "ob1", "OMPI_MCA_mpi_yield_when_idle": "1",
                            "SLURM_MPI_TYPE": "pmix"}

    def __enter__(self):
        try:
            self.write_configuration()
            self.start("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket",
                       f"--key-file={self.folder}/munge.key", f"--pid-file={self.folder}/munge.pid",
                       f"--log-file={self.folder}/munge.log", f"--seed-file={self.folder}/munge.seed")
            self.wait_for(lambda: (self.folder / "munge.socket").exists(), "munged")
            self.start("slurmctld", "-D", "-c", "-f", self.folder / "slurm.conf")
            for node in NODES:
                self.start_node(node)
            self.wait_for(lambda: self.states() == ["idle"] * len(NODES), "idle nodes")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        if "slurmctld" in self.daemons:
            self.call("scancel", "--full", "--state=RUNNING", "--signal=KILL", check=False)
            self.call("scancel", "--user=root", check=False)
        for name in reversed(list(self.daemons)):
            self.stop(name)

    def write_configuration(self):
        ports = free_ports(1 + len(NODES))
        for name in ("state", *(f"{node}/{part}" for node in NODES for part in ("spool", "tmp"))):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "slurm.conf").write_text(SLURM_CONF.format(
            folder=self.folder, controller_port=ports[0], ports=ports[1:], cpus=CPUS))
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (self.folder / "gres.conf").write_text(GRES_CONF)
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)

    def start(self, name, *command):
        log = open(self.folder / f"{name}.output", "ab")
        daemon = program(command[0]) if name in NODES else program(name)
        arguments = [str(part) for part in (command[1:] if name in NODES else command)]
        self.daemons[name] = subprocess.Popen([daemon, *arguments], stdin=subprocess.DEVNULL, stdout=log,
                                              stderr=log, env=self.environment, start_new_session=True)
        log.close()

    def start_node(self, node):
        """A slurmd with a host name and a /dev/shm of its own: ranks of two nodes share nothing."""
        script = f"hostname {node} && mount -t tmpfs none /dev/shm && exec {program('slurmd')} -D -c -N {node}"
        self.start(node, "unshare", "--mount", "--uts", "sh", "-c", script)

    def stop(self, name):
        daemon = self.daemons.pop(name)
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def call(self, *command, check=True, **more):
        """Runs one of Slurm's commands; what it printed."""
        result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60,
                                env={**self.environment, **more})
        assert not check or result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return result.stdout

    def states(self):
        return self.call("sinfo", "--noheader", "--Node", "--partition=batch", "--format=%t",
                         check=False).split()

    def wait_for(self, condition, what, limit=30):
        deadline = time.monotonic() + limit
        while not condition():
            for name, daemon in self.daemons.items():
                output = self.folder / f"{name}.output"
                assert daemon.poll() is None, f"{name} ended:\n{output.read_text()}"
            assert time.monotonic() < deadline, f"no {what} within {limit} s"
            time.sleep(0.2)


def main():
    reason = why_not()
    if reason:
        sys.exit(f"no virtual cluster: {reason}")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, Cluster(folder) as cluster:
        return subprocess.run(sys.argv[1:], env=cluster.environment).returncode


if __name__ == "__main__":
    sys.exit(main())
