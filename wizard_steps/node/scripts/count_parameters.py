"""Counts the parameters of an architecture: transformers makes it on torch's meta device, without weights.

Argument: a config.json. Prints one JSON object: ``parameters`` and ``transformers``, or ``problem``.
Code that comes with a model is never run, nothing is downloaded.
"""

import json
import os
import sys
from importlib import import_module
from typing import Any, Dict

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", CUDA_VISIBLE_DEVICES="")


def count(config: Dict[str, Any]) -> Dict[str, Any]:
    torch: Any = import_module("torch")
    transformers: Any = import_module("transformers")
    names = config.get("architectures") or [""]
    kind: Any = getattr(transformers, str(names[0]), None)
    if not hasattr(kind, "_from_config"):
        return {"problem": f"transformers {transformers.__version__} has no {names[0]}"}
    with torch.device("meta"):
        model = kind._from_config(kind.config_class.from_dict(config))
    total = sum(one.numel() for one in model.parameters())
    return {"parameters": total, "transformers": transformers.__version__}


if __name__ == "__main__":
    try:
        found = count(json.loads(sys.argv[1]))
    except Exception as error:  # a class may raise anything over a config that it does not know
        found = {"problem": f"{type(error).__name__}: {error}"}
    print(
        json.dumps(
            {name: str(value)[:300] if name != "parameters" else value for name, value in found.items()}
        )
    )
