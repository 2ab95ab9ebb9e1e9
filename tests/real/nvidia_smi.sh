#!/bin/sh
# SIMULATED nvidia-smi of milepost's test bed: there is no GPU here. The number of GPUs is a setting of the
# host; every answer that a person may read says SIMULATED.
gpus=@GPUS@
name='SIMULATED GPU'
driver=580.0.0
memory=81559

rows() { i=0; while [ "$i" -lt "$gpus" ]; do "$1" "$i"; i=$((i + 1)); done; }

list_one() { echo "GPU $1: $name (UUID: GPU-00000000-0000-0000-0000-$(printf %012d "$1"))"; }

field() { # NAME INDEX
    case $1 in
        index) echo "$2" ;;
        name | gpu_name) echo "$name" ;;
        uuid | gpu_uuid) echo "GPU-00000000-0000-0000-0000-$(printf %012d "$2")" ;;
        driver_version) echo "$driver" ;;
        memory.total | memory.free) echo "$memory$mib" ;;
        memory.used) echo "0$mib" ;;
        utilization.gpu) echo "[N/A]" ;;
        compute_cap) echo 9.0 ;;
        count) echo "$gpus" ;;
        pci.bus_id | gpu_bus_id) printf '00000000:%02X:00.0\n' "$2" ;;
        *) echo '[N/A]' ;;
    esac
}

query_one() {
    line=
    for wanted in $(echo "$fields" | tr ',' ' '); do line="$line${line:+, }$(field "$wanted" "$1")"; done
    echo "$line"
}

rule() { echo '+-----------------------------------------+------------------------+----------------------+'; }

table_one() {
    printf '| %3d  %-25s      Off | %s Off |                    0 |\n' "$1" "$name" "  $(field pci.bus_id "$1")"
    printf '| N/A   30C    P0             70W /  700W |       0MiB /  %5dMiB |      0%%      Default |\n' "$memory"
    rule
}

mib=' MiB' header=yes fields="" list="" apps=""
for word in "$@"; do
    case $word in
        -L | --list-gpus) list=yes ;;
        --query-gpu=*) fields=${word#*=} ;;
        --query-compute-apps=*) apps=yes ;;
        --format=*)
            case $word in *nounits*) mib="" ;; esac
            case $word in *noheader*) header=no ;; esac ;;
        topo | -m | -i | --id=* | -q) echo "SIMULATED nvidia-smi: '$word' is not offered here" >&2; exit 6 ;;
    esac
done
if [ "$list" ]; then rows list_one; exit; fi
if [ "$apps" ]; then exit; fi
if [ "$fields" ]; then
    if [ "$header" = yes ]; then echo "$fields" | sed 's/,/, /g'; fi
    rows query_one
    exit
fi
echo '+-----------------------------------------------------------------------------------------+'
printf '| NVIDIA-SMI %-14s  SIMULATED   Driver Version: %-10s  CUDA Version: 13.0   |\n' "$driver" "$driver"
rule
echo '| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |'
echo '|=========================================+========================+======================|'
rows table_one
echo
echo '+-----------------------------------------------------------------------------------------+'
echo '| Processes: none (SIMULATED: there is no GPU here)                                       |'
echo '+-----------------------------------------------------------------------------------------+'
