#!/bin/sh
# How many processes of a container the kernel has killed for memory since its start. Needs: pid, its first process
# as this machine numbers it, and limit, in bytes. Control groups of version 2, or the memory group of version 1.
# shellcheck disable=SC2154
f=
while IFS=: read -r _ kind path; do
  case $kind in
    '') [ -n "$f" ] || f=/sys/fs/cgroup$path/memory.events ;;
    memory | *,memory | memory,*) f=/sys/fs/cgroup/memory$path/memory.oom_control ;;
  esac
done < "/proc/$pid/cgroup" 2>/dev/null
n=$(sed -n 's/^oom_kill \([0-9]*\)$/\1/p' "$f" 2>/dev/null)
[ "${n:-0}" = 0 ] || echo "oom-kills: $n; limit: $limit"
