#!/bin/sh
# Prints the logs of a node, each behind a line of $mark. Needs: mark, own and ray, two folders, and first and last,
# the bytes of the beginning and of the end that are read of a long log; a shorter one comes in one piece.
# shellcheck disable=SC2154
say() { printf '\n%s %s\n' "$mark" "$1"; }
log() {
  [ -r "$1" ] && [ -s "$1" ] || return 0
  if [ "$(wc -c < "$1")" -le $((first + last)) ]; then
    say "$1"
    cat "$1"
  else
    say "$1 (beginning)"
    head -c "$first" "$1"
    say "$1 (end)"
    tail -c "$last" "$1"
  fi
}
# shellcheck disable=SC2012  # the newest first
newest() { ls -t "$@" 2>/dev/null | head -n 8; }
for f in "$own"/*.log; do log "$f"; done
for f in raylet.out raylet.err gcs_server.out gcs_server.err; do log "$ray/$f"; done
for f in dashboard.log dashboard_agent.log; do log "$ray/$f"; done
newest "$ray"/worker-*.err "$ray"/worker-*.out | while IFS= read -r f; do log "$f"; done
