#!/bin/sh
# Our processes, who listens on $port, and Ray or vLLM that is not ours. Follows processes.sh.
# shellcheck disable=SC2154,SC3067
# Other people choose their command lines: what is printed of them is one line of printable ASCII.
printable() { tr '\0' ' ' | LC_ALL=C tr -c ' -~' '?' | cut -c1-160; }
# `ray start --block` goes on when its raylet ends as `ray stop` ends it.
left_by_ray() {
  [ "$role" = ray ] && grep -qs 'Ray runtime started' "$d/ray.log" || return 1
  for p in $(ours); do ! grep -qszE '(^|/)[r]aylet/raylet$' "/proc/$p/cmdline" || return 1; done
}

# shellcheck disable=SC2046,SC2005
echo ours: $(ours)
if [ -n "$leader" ] && ours | grep -qx "$leader"; then
  if left_by_ray; then echo "left: ray start $leader"; else echo "leader: $leader"; fi
  { read -r instance; read -r spec; } < "$d/$role.start" 2>/dev/null &&
    { echo "instance: $instance"; printf 'spec: %s\n' "$spec"; }
fi
s=$(service)
[ -z "$s" ] || echo "service: $s"
# What a service was written with: it starts that at the next boot, whatever runs now.
[ ! -s "$d/$role.unit.spec" ] || printf 'written: %s\n' "$(cat "$d/$role.unit.spec")"
kin | sed 's/^/kin: /'
unseen | sed 's/^/unseen: /'
hex=$(printf '%04X' "$port")
if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$hex [0-9A-F]*:0000 0A "; then
  echo "port $port: listening"
else
  echo "port $port: free"
fi
for c in $(kind); do
  p=${c#/proc/}; p=${p%/cmdline}
  of=
  if [ -O "/proc/$p" ] && i=$(tr '\0' '\n' < "/proc/$p/environ" 2>/dev/null | grep -m 1 '^MILEPOST_ID='); then
    [ "${i%%/*}" != "${id%%/*}" ] || continue
    i=${i#*=}
    of=", milepost's cluster $(printf %s "${i%%/*}" | LC_ALL=C tr -cd 'A-Za-z0-9._-' | cut -c1-63)"
  fi
  echo "other: $p $(head -c 4096 "$c" 2>/dev/null | printable)$of"
done
exit 0
