#!/bin/sh
# One line for each port of an RDMA device.
for p in /sys/class/infiniband/*/ports/*; do
  [ -e "$p" ] || continue
  d=${p%/ports/*}
  echo "${d##*/} port ${p##*/} state $(cat "$p/state") rate $(cat "$p/rate")" \
    "layer $(cat "$p/link_layer") net $(echo "$d"/device/net/*)"
done
