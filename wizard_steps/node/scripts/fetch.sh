#!/bin/sh
# Runs `fetch` and tells every ten seconds by how much the engine's disk has grown since. Needs: engine and fetch,
# functions. Others may write to the same disk: the figure is about right, no more.
root=$(engine info --format '{{.DockerRootDir}}' 2>/dev/null ||
  engine info --format '{{.Store.GraphRoot}}' 2>/dev/null)
used() { [ -d "$root" ] && df -Pk "$root" 2>/dev/null | awk 'END { print $3 }'; }

before=$(used)
fetch &
child=$!
(
  seconds=0
  while sleep 10 >/dev/null 2>&1 && kill -0 "$child" 2>/dev/null; do
    seconds=$((seconds + 10)); now=$(used)
    [ -n "$before" ] && [ -n "$now" ] || continue
    # Others may have freed more than has come.
    if [ "$now" -ge "$before" ]; then more=$(((now - before) / 1024)); else more=0; fi
    echo "after $seconds s: $more MiB more in use on the disk of $root"
  done
) &
ticker=$!
trap 'kill "$child" "$ticker" 2>/dev/null' TERM INT HUP
wait "$child"
code=$?
kill "$ticker" 2>/dev/null
exit "$code"
