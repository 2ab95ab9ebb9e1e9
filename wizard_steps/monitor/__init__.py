"""What the cluster does now: nodes, GPUs, engines and the server's log, watched over SSH."""
