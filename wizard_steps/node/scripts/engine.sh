#!/bin/sh
# What a container engine can give its containers. Needs: engine, a function that runs the engine's command.
# Every line is told only where it is known. Nothing is changed.
one_line() { head -n 1 | LC_ALL=C tr -c ' -~\n' '?' | cut -c1-200; }
tell() { [ -z "$2" ] || printf '%s: %s\n' "$1" "$2"; }

# Docker and podman name the same things differently; each refuses the other's names.
if s=$(engine info --format '{{json .SecurityOptions}}' 2>/dev/null); then
  echo 'kind: docker'
  case $s in *name=rootless*) echo 'rootless: yes';; *) echo 'rootless: no';; esac
  # shellcheck disable=SC2016  # a template of Docker
  tell runtimes "$(engine info --format '{{range $k, $v := .Runtimes}}{{$k}} {{end}}' 2>/dev/null | one_line)"
  tell log-driver "$(engine info --format '{{.LoggingDriver}}' 2>/dev/null | one_line)"
  root=$(engine info --format '{{.DockerRootDir}}' 2>/dev/null | one_line)
  # Docker 25 and newer: where it looks for CDI specifications; no folder: CDI is switched off.
  if s=$(engine info --format '{{range .CDISpecDirs}}{{.}} {{end}}' 2>/dev/null); then
    dirs=$(printf '%s' "$s" | one_line)
    tell cdi-dirs "${dirs:-none}"
  else dirs=none; fi
  # Docker 28 and newer: the devices that it has found there.
  engine info --format '{{json .DiscoveredDevices}}' 2>/dev/null | grep -q 'nvidia.com/gpu' && found='its own list'
elif s=$(engine info --format '{{.Host.Security.Rootless}}' 2>/dev/null); then
  echo 'kind: podman'
  case $s in *true*) echo 'rootless: yes';; *) echo 'rootless: no';; esac
  tell log-driver "$(engine info --format '{{.Host.LogDriver}}' 2>/dev/null | one_line)"
  tell events "$(engine info --format '{{.Host.EventLogger}}' 2>/dev/null | one_line)"
  root=$(engine info --format '{{.Store.GraphRoot}}' 2>/dev/null | one_line)
fi
tell root "${root:-}"
# The NVIDIA container toolkit: a hook before the container starts, or a CDI specification of the
# devices, which Docker 29.2 and newer follow for --gpus where nvidia-cdi-hook is there.
tell hook "$(command -v nvidia-container-runtime-hook nvidia-container-toolkit 2>/dev/null | one_line)"
tell cdi-hook "$(command -v nvidia-cdi-hook 2>/dev/null | one_line)"
case ${dirs:-} in none) dirs='/etc/cdi /var/run/cdi';; esac
for d in ${dirs:-/etc/cdi /var/run/cdi}; do
  [ -n "${found:-}" ] || found=$(grep -ls 'nvidia.com/gpu' "$d"/* 2>/dev/null | one_line)
done
tell cdi "${found:-}"
echo "cpu: $(uname -m)"
tell netns "$(readlink /proc/self/ns/net 2>/dev/null)"
n=0; for f in /dev/infiniband/uverbs*; do [ -e "$f" ] && n=$((n + 1)); done
echo "rdma: $n"
