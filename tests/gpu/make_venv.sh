#!/bin/sh
# make_venv.sh VENV PYTHON [SITE]: a virtual environment with bin/vllm and bin/ray that shows SITE (what pack.sh packed) and,
# after it, the packages of PYTHON's own environment.
set -eu
venv=$1 python=$2 site=${3:-}
"$python" -m venv --without-pip "$venv"
packages=$("$venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')
[ -z "$site" ] || echo "$site" > "$packages/a-site.pth"
"$python" -c 'import site; print("\n".join(site.getsitepackages()))' > "$packages/b-base.pth"
# vLLM spawns: without the guard every child would start the command again.
cat > "$venv/bin/run_vllm.py" <<'END'
import sys
from vllm.entrypoints.cli.main import main
if __name__ == "__main__":
    sys.exit(main())
END
cat > "$venv/bin/run_ray.py" <<'END'
import sys
from ray.scripts.scripts import main
if __name__ == "__main__":
    sys.exit(main())
END
for name in vllm ray; do
    printf '#!/bin/sh\nexec "%s/bin/python" "%s/bin/run_%s.py" "$@"\n' "$venv" "$venv" "$name" > "$venv/bin/$name"
done
chmod +x "$venv/bin/vllm" "$venv/bin/ray"
