#!/bin/sh
# How many processes of a container the kernel has killed for memory. While it runs its control group tells (of
# version 2, or the memory group of version 1), afterwards the kernel's log, where this user may read it.
# Needs: id, of the container; pid, its first process as this machine numbers it, 0 where it has ended; limit, in
# bytes, 0 for none; before, how many had been killed before; word, what the number is called.
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
n=$((${n:-0} - before))
[ "$n" -le 0 ] || case $word in killed-before) echo "$word: $n" ;; *) echo "$word: $n; limit: $limit" ;; esac
