#!/bin/sh
# What mpirun calls in place of ssh: agent.sh HOST COMMAND..., for the hosts of STANLEY_HOSTS
# ("HOST=PROCESS ...": a process in that host's namespaces; hosts.py sets it).
host=$1
shift
for entry in $STANLEY_HOSTS; do
  if [ "${entry%%=*}" = "$host" ]; then
    exec nsenter --target="${entry##*=}" --net --mount --uts sh -c "$*"
  fi
done
echo "agent.sh: there is no host $host in STANLEY_HOSTS" >&2
exit 1
