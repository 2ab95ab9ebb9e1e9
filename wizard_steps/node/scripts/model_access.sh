#!/bin/sh
# Asks the hub for config.json with the token of this node or of the wizard; neither is ever shown. Needs: model, its
# name, python, where the node has no python3, and code, what asks where there is no curl. The token comes on standard
# input from the wizard, and goes on to curl or Python the same way, never in argv.
# shellcheck disable=SC2154,SC2209
T=$HF_TOKEN
S=environment
F=${HF_TOKEN_PATH:-${HF_HOME:-$HOME/.cache/huggingface}/token}
[ -n "$T" ] || { [ -r "$F" ] && T=$(cat "$F") && S=file; }
while IFS= read -r line; do
  case $line in HF_TOKEN=*) T=${line#*=} S=wizard ;; esac
done
# A token is one plain word: nothing else may reach curl's configuration.
T=$(printf %s "$T" | tr -cd 'A-Za-z0-9_.=-')
[ -n "$T" ] || S=none
echo "token $S"
echo "offline ${HF_HUB_OFFLINE:-0}"
U=${HF_ENDPOINT:-https://huggingface.co}/$model/resolve/main/config.json
if command -v curl > /dev/null 2>&1; then
  { if [ -n "$T" ]; then printf 'header = "Authorization: Bearer %s"\n' "$T"; fi; } |
    curl -sSI -m 20 --config - "$U" 2>&1 | tr -d '\r' |
    sed -n 's/^HTTP[^ ]* \([0-9]*\).*/http \1/p; s/^[Xx]-[Ee]rror-[Cc]ode: /code /p; s/^curl: /error /p'
else
  P=python3
  command -v python3 > /dev/null 2>&1 || P=$python
  printf %s "$T" | "$P" -I -c "$code" "$U" 2>&1
fi
