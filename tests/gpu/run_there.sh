#!/bin/sh
# On the GPU machine, in the repository: run_there.sh PARTS OUT. Unpacks what pack.sh packed (PARTS/site.txz.*,
# unpacked once), makes a model, walks, and leaves OUT/walks.tar.gz and the logs.
set -u
parts=$1 out=$2
shift 2
site=/tmp/site venv=/opt/vllm-venv model=/models/tiny-random-llama
if [ ! -d $site/vllm ]; then
    mkdir -p $site
    cat "$parts"/site.txz.* | xz -dc -T0 | tar -C $site -xf - || exit 1
fi
python=$(command -v python3)
export PYTHONPATH=$site PYTHONUNBUFFERED=1 VLLM_USE_FLASHINFER_SAMPLER=0
sh tests/gpu/make_venv.sh $venv "$python" $site
[ -f $model/config.json ] || PYTHONPATH=$site:. "$python" tests/gpu/make_model.py $model > "$out/model.log" 2>&1 || exit 1
address=$(hostname -I 2>/dev/null | cut -d' ' -f1)
[ -n "$address" ] || address=$("$python" -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("192.0.2.254", 9)); print(s.getsockname()[0])')
echo "address $address"
began=$(date +%s)
timeout "${LIMIT:-520}" "$python" -m tests.gpu.walks /tmp/walks --venv $venv --ip "$address" --model $model --settle "${SETTLE:-25}" \
    --flag=--max-model-len=512 --flag=--gpu-memory-utilization=0.3 \
    --env VLLM_USE_FLASHINFER_SAMPLER=0 "$@" > "$out/walks.log" 2>&1
echo "walks: exit $? after $(($(date +%s) - began)) s"
cp -r "$HOME"/.milepost /tmp/walks/node-logs 2>/dev/null
rm -rf /tmp/walks/ssh
tar -C /tmp/walks -czf "$out/walks.tar.gz" .
grep -E "^(PASSED|FAILED|walk |healthy)|FAIL |WHY " "$out/walks.log" | cut -c1-300
