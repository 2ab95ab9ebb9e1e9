#!/bin/sh
# Processes that milepost started for a cluster, and which listening sockets are theirs. Needs: cluster, its name,
# and lives, the folder of its nodes. They are told by user, MILEPOST_ID and MILEPOST_LIFE in their environment.
# shellcheck disable=SC2013,SC2154
listening=
while read -r _ _ _ s _ _ _ _ _ i _; do
  [ "$s" = 0A ] && listening="$listening $i"
done <<TABLES
$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null)
TABLES
tell() {
  echo "pid $1"
  # shellcheck disable=SC2012  # the links' targets are wanted
  for n in $(ls -l "/proc/$1/fd" 2>/dev/null | sed -n "s/.*socket:\[\([0-9]*\)\]$/\1/p"); do
    case "$listening " in *" $n "*) echo "socket $n" ;; esac
  done
}
for f in $(grep -slzF MILEPOST_ID= /proc/[0-9]*/environ); do
  p=${f#/proc/}
  p=${p%/environ}
  # What merely holds the words somewhere else in its environment is not ours, nor what another user or an
  # earlier life of the cluster started.
  i=$(tr "\0" "\n" < "$f" 2>/dev/null | grep -m 1 ^MILEPOST_ID=) || continue
  i=${i#MILEPOST_ID=}
  c=${i%%/*}
  n=${i#*/}
  n=${n%%/*}
  # shellcheck disable=SC3067  # dash and busybox know -O
  if [ "$c" = "$cluster" ] && [ -O "/proc/$p" ] && grep -qszxFf "$lives/$n/life" "$f"; then
    tell "$p"
  else
    echo "cluster $p $(printf %s "$c" | LC_ALL=C tr -cd "A-Za-z0-9._-" | cut -c1-63)"
  fi
done
