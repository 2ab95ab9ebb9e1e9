#!/bin/sh
# Starts `run` in a session of its own, output to $role.log. Needs: d (the node's state folder), id, role, node,
# spec (what it is started with, one line), and run, a function that becomes the program.
# shellcheck disable=SC2154
umask 077
# Secrets come on standard input.
while IFS= read -r line; do case $line in *=*) export "${line%%=*}=${line#*=}";; esac; done
mkdir -p "$d" && cd "$d" || exit 1
[ -s life ] || echo "MILEPOST_LIFE=$(cat /proc/sys/kernel/random/uuid)" > life
if [ -s "$role.log" ]; then mv -f "$role.log" "$role.log.1"; fi
# A process whose pid or log cannot be written could never be found or read again.
echo writable 2>/dev/null > "$role.pid"
[ -s life ] && [ -s "$role.pid" ] || {
  echo "cannot write in $d:"; df -Pk "$d"
  echo "No space left on device, or no permission"
  exit 1
}
instance=$(cat /proc/sys/kernel/random/uuid)
printf '%s\n%s\n' "$instance" "$spec" > "$role.start"
# Where a person looks first: one name whatever the node is called.
ln -sf "$node/$role.log" "../$role.log"
export "$(cat life)"
run > "$role.log" 2>&1 < /dev/null &
pid=$!
echo "$pid" > "$role.pid"
# Started is what has a session of its own and carries its name: before that a cut connection ends it.
i=0
while [ $i -lt 50 ] && [ -e "/proc/$pid/exe" ] && ! grep -qzxF "$id" "/proc/$pid/environ" 2>/dev/null; do
  sleep 0.1
  i=$((i + 1))
done
echo "started process $pid, log $d/$role.log"
echo "instance: $instance"
