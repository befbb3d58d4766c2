#!/bin/sh
# What mpirun calls instead of ssh: agent.sh HOST COMMAND..., for the hosts of STANLEY_HOSTS
# ("NAME=PROCESS ...", each process in that host's namespaces).
host=$1
shift
for entry in $STANLEY_HOSTS; do
  [ "${entry%%=*}" = "$host" ] &&
    exec nsenter --target="${entry##*=}" --net --mount --uts sh -c "$*"
done
echo "agent.sh: there is no host $host in STANLEY_HOSTS" >&2
exit 1
