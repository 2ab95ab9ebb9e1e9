#!/bin/sh
# One line for each network device: its rate and MTU, what it is, its driver, and the bond or bridge that has it.
# A card is on a bus; the port of a bond or bridge has no address of its own.
for i in /sys/class/net/*; do
  s=$(cat "$i/speed" 2>/dev/null)
  m=$(cat "$i/mtu" 2>/dev/null)
  b=$(readlink "$i/device/subsystem")
  d=$(readlink "$i/device/driver")
  t=$(readlink "$i/master")
  [ ! -e "$i/phy80211" ] || b=wifi
  [ ! -e "$i/bridge" ] || b=bridge
  [ ! -e "$i/bonding" ] || b=bond
  b=${b##*/} d=${d##*/} t=${t##*/}
  echo "${i##*/} speed ${s:-?} mtu ${m:-?} is ${b:-virtual} by ${d:-?} in ${t:-?}"
done
