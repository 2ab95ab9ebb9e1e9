#!/bin/sh
# Processes of Ray and vLLM: pid, user, name. Only what is known of a process by name: command lines can hold keys.
# Shells and other wrappers are left out, and so is this very script ("@@fact" marks every part of it).
[ "$(id -u)" = 0 ] || cat /proc/1/cmdline > /dev/null 2>&1 || echo "hidden: other users' processes"
# shellcheck disable=SC2009  # no pgrep prints the user
ps -ww -eo pid=,user=,args= |
  grep -v '@@fact' |
  grep -vE -e '@@fact' -e '^ *[0-9]+ +[^ ]+ +([^ ]*/)?(sh|bash|dash|ash|tail|timeout|sudo|su|ssh|unshare) ' |
  grep -E -e '@@fact' -e '(^|[ /])(raylet|gcs_server)( |$)|ray::|VLLM::|bin/vllm (serve|bench)|vllm\.entrypoints' |
  sed -E -e 's/@@fact//' -e 's,^ *([0-9]+) +([^ ]+) +[^ ]*(raylet|gcs_server)( .*|$),\1 \2 \3,;t' \
    -e 's,^ *([0-9]+) +([^ ]+) +(ray::|VLLM::).*,\1 \2 \3,;t' \
    -e 's,^ *([0-9]+) +([^ ]+) .*,\1 \2 vllm,'
