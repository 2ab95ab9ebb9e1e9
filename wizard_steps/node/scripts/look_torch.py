"""Which torch is here, and how many GPUs the driver lets us see. Imports no torch: that takes ten seconds."""

import ctypes
from importlib import metadata

try:
    version = metadata.version("torch")
except metadata.PackageNotFoundError:
    version = "missing"
count = ctypes.c_int(0)
try:
    cuda = ctypes.CDLL("libcuda.so.1")
    if "+cpu" in version or cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        count.value = 0
except OSError:
    pass
print("torch:", version)
print("cuda:", count.value)
