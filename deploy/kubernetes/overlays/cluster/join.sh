#!/bin/sh
# Make one cluster of the six servers, once; a second run finds it made.
set -eu
export REDISCLI_AUTH="$(cat /run/observa/joiner.password)"
nodes=""
for i in 0 1 2 3 4 5; do
    host="observa-redis-$i.observa-redis"
    until redis-cli --user joiner -h "$host" ping | grep -q PONG; do sleep 1; done
    nodes="$nodes $(getent hosts "$host" | cut -d' ' -f1):6379"
done
if redis-cli --user joiner -h observa-redis-0.observa-redis cluster info | grep -q cluster_state:ok; then
    exit 0
fi
redis-cli --user joiner --cluster create $nodes --cluster-replicas 1 --cluster-yes
