"""Versions from package metadata: importing vLLM would take half a minute. Arguments: package names."""

import sys
from importlib import metadata

print("python:", ".".join(map(str, sys.version_info[:3])))
for name in sys.argv[1:]:
    try:
        print(name + ":", metadata.version(name))
    except metadata.PackageNotFoundError:
        print(name + ": missing")
