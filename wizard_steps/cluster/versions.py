"""What the nodes run. vLLM declares no Ray dependency, so the two are pinned together here."""

VLLM = "0.33.0"
RAY = "2.60.0"

#: The recording format. A reader refuses a larger number and says so.
WALK_SCHEMA = 1
