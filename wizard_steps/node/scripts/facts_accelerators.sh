#!/bin/sh
# PCI classes 03 (display) and 12 (processing accelerators), device files of the drivers, and what the firmware
# calls the machine.
for d in /sys/bus/pci/devices/*; do
  c=$(cat "$d/class" 2>/dev/null)
  case $c in 0x03* | 0x12*) echo "pci ${d##*/} $(cat "$d/vendor") $(cat "$d/device") $c" ;; esac
done
for f in /dev/kfd /dev/dxg /dev/accel* /dev/neuron0 /dev/davinci0 /dev/nvidia0 /dev/nvmap; do
  [ -e "$f" ] && echo "file $f"
done
tr -d '\0' 2>/dev/null < /proc/device-tree/model | sed 's/^/model /'
true
