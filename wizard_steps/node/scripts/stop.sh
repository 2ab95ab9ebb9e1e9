#!/bin/sh
# Ends every process of a role: TERM to its leader, after $grace seconds KILL to what is left of ours. "nothing
# of ours runs", and 0, only where everything that could be ours could be looked into. Follows processes.sh.
# shellcheck disable=SC2154,SC2046,SC2086
counted() { if [ "$n" = 1 ]; then echo "ended 1 process"; else echo "ended $n processes"; fi; }
nothing_found() {
  k=$(kin); u=$(unseen)
  # hidepid of /proc: other users' processes cannot even be counted.
  if [ -z "$k$u" ] && [ "$(id -u)" != 0 ] && ! cat /proc/1/cmdline > /dev/null 2>&1; then
    echo "nothing that $(id -un) started here runs; processes of other users are hidden on this machine (hidepid)"
    exit 0
  fi
  [ -n "$k$u" ] || { echo "nothing of ours runs"; exit 0; }
  echo "nothing that $(id -un) started here runs."
  [ -z "$k" ] || echo "$k" | sed 's/.*/left alone: process & has this name, but another user or another walk started it/'
  [ -z "$u" ] || echo "$(echo "$u" | wc -l) Ray or vLLM process(es) of other users that $(id -un) may not" \
    "look into: $(echo "$u" | head -n 3 | tr '\n' ';')"
  exit 1
}

# systemd starts again what it has started when that is killed: a service is ended by systemd.
s=$(service)
if [ -n "$s" ]; then
  n=$(ours | wc -l)
  asked stop "$s" 2>&1 && echo "stopped $s: it stays enabled, and starts at the next boot as it was written"
  [ -n "$(ours)" ] || { rm -f "$d/$role.pid" "$d/$role.start"; counted; exit 0; }
fi

all=$(ours); n=$(echo $all | wc -w)
[ "$n" -gt 0 ] || nothing_found
if echo "$all" | grep -qx "$leader"; then kill -TERM "$leader" 2>/dev/null; else kill -TERM $all 2>/dev/null; fi
i=0
while [ $i -lt $((grace * 5)) ] && [ -n "$(ours)" ]; do sleep 0.2; i=$((i + 1)); done
i=0
while [ $i -lt 25 ] && [ -n "$(ours)" ]; do kill -KILL $(ours) 2>/dev/null; sleep 0.2; i=$((i + 1)); done
left=$(ours)
if [ -n "$left" ]; then echo "still there:" $left; exit 1; fi
rm -f "$d/$role.pid" "$d/$role.start"
counted
k=$(kin)
[ -z "$k" ] || { echo "left alone, for it has this name but was started otherwise: process $k"; exit 1; }
