"""Versions from package metadata: importing vLLM would take half a minute. Arguments: package names.

``lock`` is a hash of all that is installed, to compare nodes; ``--all`` prints what it is made of.
"""

import hashlib
import re
import sys
from importlib import metadata

installed = {}
for one in metadata.distributions():
    # Broken metadata has no name; of two copies Python imports the first.
    name = re.sub(r"[-_.]+", "-", one.metadata["Name"] or "").lower()
    if name and name not in installed:
        installed[name] = "".join((one.version or "unknown").split())
lines = [f"package {name} {installed[name]}" for name in sorted(installed)]
if sys.argv[1:] == ["--all"]:
    print("\n".join(lines))
    sys.exit()
print("python:", ".".join(map(str, sys.version_info[:3])))
for name in sys.argv[1:]:
    try:
        print(name + ":", metadata.version(name))
    except metadata.PackageNotFoundError:
        print(name + ": missing")
digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
print(f"lock: {len(lines)} packages, sha256 {digest[:16]}")
