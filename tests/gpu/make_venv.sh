#!/bin/sh
# make_venv.sh VENV PYTHON [SITE]: a folder that looks like a virtual environment: bin/python, bin/vllm, bin/ray
# over an existing interpreter, with SITE (what pack.sh packed) before its own packages.
set -eu
venv=$1 python=$2 site=${3:-}
mkdir -p "$venv/bin"
cat > "$venv/bin/python" <<END
#!/bin/sh
export PYTHONPATH="$site\${PYTHONPATH:+:\$PYTHONPATH}" PATH="$venv/bin:\$PATH"
exec "$python" "\$@"
END
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
chmod +x "$venv/bin/python" "$venv/bin/vllm" "$venv/bin/ray"
