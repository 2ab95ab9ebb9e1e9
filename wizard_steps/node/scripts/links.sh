#!/bin/sh
# Links, bonds, GIDs, addresses, PFC and ECN, NVLink rates, what this user may open of them, and which tools that
# measure them are here: one line each. Reads only. facts_rdma.sh has told the RDMA ports.
for i in /sys/class/net/*; do
  n=${i##*/}
  echo "$n speed $(cat "$i/speed" 2>/dev/null || echo '?') mtu $(cat "$i/mtu" 2>/dev/null || echo '?')"
  [ ! -e "$i/bonding" ] || echo "bond $n"
done
for p in /sys/class/infiniband/*/ports/*; do
  [ -e "$p" ] || continue
  d=${p%/ports/*}; n="${d##*/} port ${p##*/}"
  for g in "$p"/gid_attrs/types/*; do
    t=$(cat "$g" 2>/dev/null) || continue
    echo "$n gid ${g##*/} $(cat "$p/gids/${g##*/}") $t"
  done
done
for d in /sys/class/infiniband/*/device/net/*; do
  [ -e "$d" ] || continue
  n=${d##*/}; e=/sys/class/net/$n/ecn/roce_np/enable
  [ -d "$e" ] && echo "ecn $n $(cat "$e"/* 2>/dev/null | tr -dc 01)"
  f=$(dcb pfc show dev "$n" prio-pfc 2>/dev/null | tr -s ' \n' ' ') && [ -n "$f" ] && echo "pfc $n $f"
done
ip -o -4 addr show 2>/dev/null | sed -n 's/^[0-9]*: *\([^ ]*\) *inet \([0-9./]*\).*/addr \1 \2/p'
v=0; for f in /dev/infiniband/uverbs*; do [ -r "$f" ] && [ -w "$f" ] && v=$((v+1)); done
echo "verbs: $v"
m='not loaded'
# The second was its name before the driver had it.
for f in /sys/module/nvidia_peermem /sys/kernel/mm/memory_peers/nv_mem*; do [ ! -d "$f" ] || m=loaded; done
echo "peermem: $m"
for t in ib_write_bw ib_send_lat all_reduce_perf; do
  f=$(command -v "$t")
  for g in "$HOME/nccl-tests/build/$t" "/opt/nccl-tests/build/$t"; do [ -n "$f" ] || [ ! -x "$g" ] || f=$g; done
  [ -n "$f" ] && echo "tool $t $f"
done
command -v nvidia-smi >/dev/null && timeout 10 nvidia-smi nvlink -s 2>/dev/null |
  sed -n 's/^GPU \([0-9]*\):.*/nvlink gpu \1/p; s/.*Link [0-9]*: \([0-9.]*\) GB.*/nvlink rate \1/p' | head -n 800
exit 0
