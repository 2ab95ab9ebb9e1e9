#!/bin/sh
# On a machine with two GPUs: two_hosts.sh PARTS OUT NAME... PARTS holds what pack.sh packed (site.txz.*), and deb.txz where
# the machine has no sshd and ip: bin/ lib/ libexec/ of those programs, to be unpacked at /srv/deb. With MODULE=docker: the
# Docker path (tests/gpu/docker.py), and PARTS/dk.txz.* hold srv/dk with the programs that it names.
set -u
parts=$1 out=$2
shift 2
if [ -f "$parts/deb.txz" ] && [ ! -x /srv/deb/bin/ip ]; then
    mkdir -p /srv/deb /usr/lib/openssh /run/sshd
    tar -C /srv/deb -xJf "$parts/deb.txz"
    for program in sshd ip; do [ -x "/usr/sbin/$program" ] || ln -s "/srv/deb/bin/$program" "/usr/sbin/$program"; done
    cp -rn /srv/deb/libexec/openssh/* /usr/lib/openssh/
    id sshd > /dev/null 2>&1 || echo 'sshd:x:109:65534::/run/sshd:/usr/sbin/nologin' >> /etc/passwd
fi
[ ! -f "$parts/dk.txz.00" ] || [ -d /srv/dk ] || cat "$parts"/dk.txz.* | tar -C / -xJf - || exit 1
export PATH="/srv/deb/bin:$PATH" PYTHONUNBUFFERED=1
if [ ! -d /srv/site/vllm ]; then
    mkdir -p /srv/site
    cat "$parts"/site.txz.* | xz -dc -T0 | tar -C /srv/site -xf - || exit 1
fi
python=$(command -v python3)
sh tests/gpu/make_venv.sh /opt/vllm-venv "$python" /srv/site
export PYTHONPATH="/srv/site:$PWD"
[ -f /srv/model/config.json ] || "$python" -m tests.gpu.make_model /srv/model > "$out/model.log" 2>&1 || { tail -5 "$out/model.log"; exit 1; }
[ -f /srv/shapes/model/config.json ] || "$python" -m tests.gpu.make_model /srv/shapes/model --shape >> "$out/model.log" 2>&1 || tail -5 "$out/model.log"
# The wizard runs in the same environment: its probe looks at no PYTHONPATH.
/opt/vllm-venv/bin/python -m "tests.gpu.${MODULE:-two_hosts}" "$out" "$@"
tar -C /tmp/walks -czf "$out/walks.tar.gz" .
for name in "$@"; do
    echo "== $name"
    grep -E "^(PASSED|FAILED|walk )|FAIL |WARN|WHY |transport|GB/s" "$out/$name.log" | cut -c1-260
done
