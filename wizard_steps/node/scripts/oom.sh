#!/bin/sh
# How many processes of a container the kernel has killed for memory. Needs: id, of the container; pid, its first
# process as this machine numbers it, 0 where it has ended; limit, in bytes. While it runs its control group tells
# (version 2, or the memory group of version 1), afterwards the kernel's log, where this user may read it.
# shellcheck disable=SC2154
f=
n=
while IFS=: read -r _ kind path; do
  case $kind in
    '') [ -n "$f" ] || f=/sys/fs/cgroup$path/memory.events ;;
    memory | *,memory | memory,*) f=/sys/fs/cgroup/memory$path/memory.oom_control ;;
  esac
done < "/proc/$pid/cgroup" 2>/dev/null
[ -z "$f" ] || n=$(sed -n 's/^oom_kill \([0-9]*\)$/\1/p' "$f" 2>/dev/null)
[ "$pid" != 0 ] || [ -z "$id" ] || n=$(
  { dmesg 2>/dev/null || journalctl -q -k -b -n 20000 --no-pager 2>/dev/null; } | grep -c "oom-kill:.*$id"
)
[ "${n:-0}" = 0 ] || echo "oom-kills: $n; limit: $limit"
