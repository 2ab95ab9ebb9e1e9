#!/bin/bash
# What a container of the image has, as it sees it.
# shellcheck disable=SC2046
echo "container: started"
python3 - <<'END' || echo "python: missing"
import sys
from importlib import metadata
print("python:", ".".join(map(str, sys.version_info[:3])))
for name in ("vllm", "ray"):
    try:
        print(name + ":", metadata.version(name))
    except metadata.PackageNotFoundError:
        print(name + ": missing")
END
echo "ray-command: $(command -v ray || echo missing)"
# What milepost runs in the container to start vLLM, to find it again and to end it.
lacks=
for t in cat chmod cp cut df find grep head id ln mkdir mktemp mv nohup readlink rm sed setsid sleep stat tail tr wc; do
  command -v "$t" >/dev/null 2>&1 || lacks="$lacks $t"
done
printf 'a\0b' | grep -qzxF b 2>/dev/null || lacks="$lacks grep -z (GNU grep)"
tail --version >/dev/null 2>&1 || lacks="$lacks tail --pid (GNU coreutils)"
[ -z "$lacks" ] || echo "lacks:$lacks"
set -- $(df -Pk /dev/shm | tail -n 1); echo "shm: ${2:-0} KiB"
for d in /milepost/*; do
  [ -d "$d" ] || continue; n=${d##*/}
  # File systems of a network may let `test -w` pass and refuse root's write (root_squash): only a file tells.
  if [ -w "$d" ] && f=$(mktemp "$d/.milepost-XXXXXX" 2>/dev/null) && rm -f "$f"; then echo "$n: writable"
  else echo "$n: read-only for $(id -un 2>/dev/null || id -u)"; fi
  set -- $(df -Pk "$d" | tail -n 1); echo "$n-free: ${4:-0} KiB"
  echo "$n-fs: $(stat -f -c %T "$d" 2>/dev/null)"
done
echo "netns: $(readlink /proc/self/ns/net)"
echo "memlock: $(ulimit -l)"
echo "nofile: $(ulimit -Hn)"
set -- /sys/class/infiniband/*; if [ -e "$1" ]; then echo "rdma: $#"; else echo "rdma: 0"; fi
n=0; for f in /dev/infiniband/uverbs*; do if [ -r "$f" ] && [ -w "$f" ]; then n=$((n + 1)); fi; done
echo "rdma-open: $n"
# Without those that are empty: of another network namespace than the host's, they all are.
echo "gids: $(cat /sys/class/infiniband/*/ports/*/gids/* 2>/dev/null | grep -c '[1-9a-f]')"
if command -v nvidia-smi >/dev/null 2>&1; then
  nvidia-smi -L 2>&1 | sed 's/^/smi: /'; echo "gpus: $(nvidia-smi -L 2>/dev/null | grep -c '^GPU ')"
else echo "smi: nvidia-smi is not in the container"; echo "gpus: 0"; fi
