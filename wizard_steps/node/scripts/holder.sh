#!/bin/sh
# Who listens on $port, where this user may see it: one line, and the pid as $holder. Needs: port.
# shellcheck disable=SC2046,SC2154
listens() {
  set -- $(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    grep -m 1 ":$(printf '%04X' "$port") [0-9A-F]*:0000 0A ")
  find /proc/[0-9]*/fd -lname "socket:\[${10:-none}\]" 2>/dev/null | head -n 1 | cut -d/ -f3
}
holder=$(listens)
# Other people choose their command lines: what is printed of them is one line of printable ASCII.
[ -z "$holder" ] || printf 'holder: %s %s\n' "$holder" \
  "$(head -c 4096 "/proc/$holder/cmdline" 2>/dev/null | tr '\0' ' ' | LC_ALL=C tr -c ' -~' '?' | cut -c1-160)"
