#!/bin/sh
# What the kernel and the services of the machine say; follows logs.sh. Needs: kernel, the words looked for.
# shellcheck disable=SC2154
say kernel
{ journalctl -k -b -o short-iso --no-pager -n 20000 2>/dev/null || dmesg -T 2>/dev/null; } |
  grep -iE "$kernel" | tail -n 300
say services
journalctl -b -o short-iso --no-pager -p warning -n 200 \
  -u docker -u containerd -u nvidia-fabricmanager 2>/dev/null
