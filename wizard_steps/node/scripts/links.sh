#!/bin/sh
# Links, RDMA ports, GIDs, and what this user may open of them: one line each. Reads only.
for i in /sys/class/net/*; do
  echo "${i##*/} speed $(cat "$i/speed" 2>/dev/null || echo '?') mtu $(cat "$i/mtu" 2>/dev/null || echo '?')"
done
for p in /sys/class/infiniband/*/ports/*; do
  [ -e "$p" ] || continue
  d=${p%/ports/*}; n="${d##*/} port ${p##*/}"
  echo "$n state $(cat "$p/state") rate $(cat "$p/rate")" \
    "layer $(cat "$p/link_layer") net $(echo "$d"/device/net/*)"
  for g in "$p"/gid_attrs/types/*; do
    t=$(cat "$g" 2>/dev/null) || continue
    echo "$n gid ${g##*/} $(cat "$p/gids/${g##*/}") $t"
  done
done
v=0; for f in /dev/infiniband/uverbs*; do [ -r "$f" ] && [ -w "$f" ] && v=$((v+1)); done
echo "verbs: $v"
[ -d /sys/module/nvidia_peermem ] && echo "peermem: loaded" || echo "peermem: not loaded"
