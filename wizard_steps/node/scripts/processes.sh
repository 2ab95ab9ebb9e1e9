#!/bin/sh
# Which processes are ours. Needs: d (the node's state folder), id (MILEPOST_ID=...), role. Linux and GNU grep.
# dash and busybox have test -O.
# shellcheck disable=SC2154,SC2034,SC3067

# Each word of a command line by itself: a shell whose text names these is none of them. The brackets keep
# this very text out.
kinds='(^|/)[r]aylet/raylet$|(^|/)[g]cs/gcs_server$|(^|/)bin/[v]llm$|^[V]LLM::|^[r]ay::|^[v]llm[.]entrypoints'
leader=$(cat "$d/$role.pid" 2>/dev/null)

named() { grep -slzxF "$id" /proc/[0-9]*/environ | tr -dc '0-9\n'; }
mine() { [ -O "/proc/$1" ] && grep -qszxFf "$d/life" "/proc/$1/environ"; }
# A role's processes of this user and of this life of the cluster.
ours() { for p in $(named); do mine "$p" && echo "$p"; done; }
# Those that carry its name and are not ours.
kin() {
  for p in $(named); do
    mine "$p" || [ ! -e "/proc/$p" ] || echo "$p of $(stat -c %U "/proc/$p" 2>/dev/null)"
  done
}
# Command lines of Ray and vLLM, whoever runs them.
kind() { grep -slzE "$kinds" /proc/[0-9]*/cmdline; }
# Ray and vLLM of others whose environment may not be read.
unseen() {
  for c in $(kind); do
    q=${c%/cmdline}
    (: < "$q/environ") 2>/dev/null && continue
    # One that is just ending cannot be read either, and is gone in a moment.
    sleep 0.2
    [ ! -e "$q" ] || (: < "$q/environ") 2>/dev/null || echo "${q#/proc/} of $(stat -c %U "$q" 2>/dev/null)"
  done
}
# systemctl for this login's units.
asked() {
  if [ "$(id -u)" = 0 ]; then systemctl "$@"; else
    XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)} systemctl --user "$@"
  fi
}
# The role's systemd service where `milepost enable` wrote one, and it runs or is about to; nothing elsewhere.
service() {
  [ -s "$d/$role.unit.sh" ] && [ -d "${MILEPOST_UNITS:-/run/systemd/system}" ] || return 0
  # As service_name makes it of CLUSTER/NODE/ROLE.
  unit=milepost-$(printf %s "${id#*=}" | LC_ALL=C tr -c 'A-Za-z0-9._/-' _ | tr / -).service
  case $(asked show -p ActiveState --value "$unit" 2>/dev/null) in
    active | activating | reloading | deactivating) echo "$unit" ;;
  esac
}
