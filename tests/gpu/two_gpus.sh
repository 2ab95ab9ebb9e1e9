#!/bin/sh
# On a machine with two GPUs, after run_there.sh has unpacked and made the model: two_gpus.sh OUT.
# TP=2 PP=1, then TP=1 PP=2, both through Ray; nvidia-smi once a second meanwhile, so that the log shows both
# GPUs at work. NVLink multicast stays off: on shared hosts it can put GPUs out of service.
set -u
out=$1
python=${PYTHON:-$(command -v python3)}
walks=${WALKS:-/tmp/walks2}
export PYTHONPATH="${SITE:-/tmp/site}:." PYTHONUNBUFFERED=1
rm -rf "$walks"
nvidia-smi --query-gpu=timestamp,index,utilization.gpu,memory.used --format=csv -l 1 > "$out/gpus-at-work.csv" 2>&1 &
watch=$!
code=0
for split in "2 1 h200-tp2" "1 2 h200-pp2"; do
    # shellcheck disable=SC2086
    set -- $split
    # shellcheck disable=SC2086
    timeout "${LIMIT:-280}" "$python" -m tests.gpu.walks "$walks/$3" --tp "$1" --pp "$2" --gpus 2 --healthy "$3" --failing "" \
        --venv "${VENV:-/opt/vllm-venv}" --vllm "${VLLM:-0.23.0}" --ip "${ADDRESS:?}" --port "${PORT:-8000}" \
        --model "${MODEL:-/models/tiny-random-llama}" --settle "${SETTLE:-25}" \
        --env NCCL_NVLS_ENABLE=0 --env TORCH_SYMM_MEM_DISABLE_MULTICAST=1 --env NVSHMEM_DISABLE_NVLS=1 \
        --env VLLM_USE_FLASHINFER_SAMPLER=0 --flag=--max-model-len=512 ${FLAGS:---flag=--gpu-memory-utilization=0.3} \
        > "$out/$3.log" 2>&1 || code=1
    grep -E "^(PASSED|FAILED|walk )|FAIL |WHY |transport|GB/s" "$out/$3.log" | cut -c1-300
done
kill "$watch"
tar -C "$walks" --exclude=ssh -czf "$out/walks2.tar.gz" .
exit $code
