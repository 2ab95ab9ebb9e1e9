#!/bin/sh
# Packs vLLM 0.23.0, Ray 2.60.0 and what they need beside an existing Python 3.12 with PyTorch 2.11 (CUDA 13),
# for a GPU machine without internet: pack.sh FOLDER -> FOLDER/parts/*. Left out: kernels for other
# attention backends than FlashAttention 3, and what only other features need.
set -eu
work=${1:?usage: pack.sh FOLDER}
here=$(cd "$(dirname "$0")" && pwd)
site=$work/site
tags=""
for n in 5 12 17 24 27 28 31 34 35; do tags="$tags --platform manylinux_2_${n}_x86_64"; done
rm -rf "$site" "$work/parts"
mkdir -p "$work/parts"
# shellcheck disable=SC2086
python3 -m pip install -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    --abi cp312 --abi abi3 --abi none $tags --platform manylinux2014_x86_64 --platform manylinux1_x86_64 \
    --target "$site" -r "$here/requirements.txt"
cd "$site"
find . -name __pycache__ -type d -prune -exec rm -rf {} +
rm -rf vllm/vllm_flash_attn/_vllm_fa2_C* vllm/vllm-rs vllm/third_party/deep_gemm vllm/third_party/flashmla \
    vllm/_flashmla* ray/rllib ray/jars flashinfer/data
tar -cf - . | xz -6 -T2 | split -b 44M -d - "$work/parts/site.txz."
ls -l "$work/parts"
