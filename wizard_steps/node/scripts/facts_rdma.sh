#!/bin/sh
# One line for each port of an RDMA device. Its network devices: those of its card, and those that its GIDs belong
# to, as a bond or a VLAN has the address then. What it is: a card, a virtual function of one that is here too,
# software (Soft-RoCE, siw), iWARP, or something else (EFA).
for p in /sys/class/infiniband/*/ports/*; do
  [ -e "$p" ] || continue
  d=${p%/ports/*} k=card
  case $(cat "$d/node_type" 2>/dev/null) in *RNIC*) k=iwarp;; *CA*|'') ;; *) k=other;; esac
  [ ! -e "$d/device/physfn" ] || k=vf
  # A subfunction; further ports of a card in switchdev mode stand for its virtual functions, and have no GIDs.
  case $(readlink "$d/device") in *.sf.*) k=vf;; esac
  [ "${p##*/}" = 1 ] || [ -n "$(cat "$p"/gid_attrs/types/* 2>/dev/null)" ] || k=vf
  if [ -e "$d/parent" ] || [ ! -e "$d/device" ]; then k=software; fi
  v=$(readlink "$d/device/driver")
  echo "${d##*/} port ${p##*/} state $(cat "$p/state") rate $(cat "$p/rate")" \
    "layer $(cat "$p/link_layer") net $(echo "$d"/device/net/*)" \
    "$(cat "$p"/gid_attrs/ndevs/* 2>/dev/null | sort -u | tr '\n' ' ')is $k by ${v##*/}"
done
