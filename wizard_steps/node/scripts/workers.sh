#!/bin/sh
# vLLM's workers here, one line each. Follows processes.sh; needs: whole (yes where every process counts, as in a
# container of ours, whose environment says nothing of the start).
# shellcheck disable=SC2154
all=$(grep -slE '^ray::RayWorker|^VLLM::Worker' /proc/[0-9]*/cmdline | tr -dc '0-9\n')
[ "$whole" = yes ] || { mine_all=$(ours); all=$(for p in $all; do echo "$mine_all" | grep -x "$p"; done); }
for p in $all; do
  # What a worker forks keeps its title.
  parent=$(sed 's/.*) . \([0-9]*\) .*/\1/' "/proc/$p/stat" 2>/dev/null)
  echo "$all" | grep -qx "${parent:-0}" && continue
  printf 'worker: %s\n' "$(tr '\0' ' ' < "/proc/$p/cmdline" 2>/dev/null | LC_ALL=C tr -cd ' -~' | cut -c1-80)"
done
echo 'workers: counted'
