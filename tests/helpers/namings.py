"""Ways in which texts name the machine of a failure: each a short text, the machine, and another as a decoy.

The labels were written before the texts were diagnosed. ``<N>`` is the machine that has to be mended, ``<O>``
another one of the same text; both are put in for each case, so that no form depends on how they are spelled.
"""

from __future__ import annotations

from typing import NamedTuple

OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
NVML = "Failed to initialize NVML: Driver/library version mismatch"
DISK = "OSError: [Errno 28] No space left on device: '/root/.cache/huggingface'"
XID = "NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python3, GPU has fallen off the bus."
CDI = 'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].'
NO_GPU = "RuntimeError: No CUDA GPUs are available"
NO_VLLM = "ModuleNotFoundError: No module named 'vllm'"


class Named(NamedTuple):
    """A text with <N> and <O> in it, and how the two are spelled."""

    id: str
    text: str
    node: str = "gpu-b7"
    other: str = "gpu-a3"
    #: Known to be left without a name.
    open: bool = False

    @property
    def said(self) -> str:
        return self.text.replace("<N>", self.node).replace("<O>", self.other)


#: What collectors and launchers put before a line.
PREFIXED = (
    Named(
        "syslog",
        f"Nov 24 10:00:01 <O> systemd[1]: Started Session 4.\nNov 24 10:00:03 <N> kernel: [ 1234.5] {XID}\n",
    ),
    Named(
        "syslog-plain-name",
        f"Nov 24 10:00:01 <O> systemd[1]: Started.\nNov 24 10:00:03 <N> kernel: {XID}\n",
        "tanuki",
        "kitsune",
    ),
    Named(
        "rfc5424",
        f"<3>1 2026-11-24T10:00:01Z <O> app 1 - - ok\n<3>1 2026-11-24T10:00:03Z <N> vllm 77 - - {OOM}\n",
    ),
    Named(
        "journal-iso",
        f"2026-11-24T10:00:01+0000 <O> sshd[9]: ok\n2026-11-24T10:00:03+0000 <N> vllm[77]: {OOM}\n",
    ),
    Named("journal-precise", f"2026-11-24T10:00:03.123456+00:00 <N> python3[77]: {OOM}\n"),
    Named(
        "journal-verbose",
        f"Tue 2026-11-24 10:00:03.1 UTC [s=1;i=2]\n    _HOSTNAME=<N>\n    PRIORITY=3\n    MESSAGE={OOM}\n    _PID=77\nTue 2026-11-24 10:00:09.1 UTC [s=1;i=3]\n    _HOSTNAME=<O>\n    MESSAGE=ok\n",
    ),
    Named("journal-json", f'{{"_HOSTNAME":"<O>","MESSAGE":"ok"}}\n{{"_HOSTNAME":"<N>","MESSAGE":"{OOM}"}}\n'),
    Named(
        "fluent-bit",
        f'{{"log":"ok","kubernetes":{{"host":"<O>","pod_name":"a"}}}}\n{{"log":"{OOM}","kubernetes":{{"host":"<N>","pod_name":"b"}}}}\n',
    ),
    Named(
        "filebeat",
        f'{{"message":"ok","host":{{"name":"<O>"}}}}\n{{"message":"{OOM}","host":{{"name":"<N>"}},"agent":{{"hostname":"x"}}}}\n',
    ),
    Named(
        "vector",
        f'{{"host":"<N>","message":"{OOM}","source_type":"file","file":"/var/log/x"}}\n{{"host":"<O>","message":"ok"}}\n',
    ),
    Named(
        "loki-stream",
        f'{{"stream":{{"host":"<N>","job":"vllm"}},"values":[["1764000000000000000","{OOM}"]]}}\n',
    ),
    Named("logcli", f'2026-11-24T10:00:03Z {{app="vllm", node_name="<N>", stream="stderr"}} {OOM}\n'),
    Named("docker-compose", f"vllm-<O>  | ready\n<N>  | {OOM}\n", "worker-1", "head-1"),
    Named("docker-service", f"vllm.1.abc@<O>    | ready\nvllm.2.def@<N>    | {OOM}\n"),
    Named("kubectl-prefix", f"[pod/<O>/vllm] ready\n[pod/<N>/vllm] {OOM}\n", "vllm-0-1", "vllm-0"),
    Named(
        "stern",
        f"<O> › vllm\n<O> vllm (EngineCore pid=1) INFO ok\n<N> vllm (EngineCore pid=1) ERROR {OOM}\n",
        "vllm-0-1",
        "vllm-0-0",
    ),
    Named("stern-node", f"+ <N> › vllm\n<N> vllm {OOM}\n", "vllm-0-1", "vllm-0-0"),
    Named("srun-label-host", f"<O>: ready\n<N>: {OOM}\n"),
    Named("srun-labels", f"0: <O>\n1: <N>\n0: ready\n1: {OOM}\n"),
    Named("srun-hostname-task", f"task 0: <O>\ntask 1: <N>\n1: {OOM}\n"),
    Named(
        "slurm-step",
        "srun: error: <N>: task 3: Out Of Memory\nsrun: Terminating StepId=1.0\n",
        "cn131",
        "cn130",
    ),
    Named(
        "slurm-tasks",
        "srun: error: <N>: tasks 4-7: Exited with exit code 1\nsrun: error: <O>: tasks 0-3: Terminated\n",
        "cn131",
        "cn130",
    ),
    Named(
        "slurmstepd",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=1.0. Some of the step tasks have been OOM Killed.\nsrun: error: <N>: task 1: Out Of Memory\n",
        "cn131",
    ),
    Named("slurmstepd-node", "slurmstepd-<N>: error: Detected 1 oom_kill event in StepId=12.0.\n", "cn131"),
    Named(
        "slurm-fail",
        "slurmstepd: error: *** STEP 9.0 ON <O> CANCELLED AT 2026-11-24T10:00:00 DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***\nsrun: error: Node failure on <N>\n",
        "cn131",
        "cn130",
    ),
    Named("slurmctld-down", "slurmctld: error: Nodes <N> not responding, setting DOWN\n", "cn131"),
    Named("pdsh", f"<O>: ready\n<N>: {NVML}\n"),
    Named("pdsh-plain-name", f"kitsune: NVIDIA-SMI 570.1\ntanuki: {NVML}\n", "tanuki", "kitsune", True),
    Named(
        "clush-gather",
        f"---------------\n<O>\n---------------\nok\n---------------\n<N>\n---------------\n{NVML}\n",
    ),
    Named("clush-exit", f"<N>: {NVML}\nclush: <N>: exited with exit code 18\n"),
    Named(
        "dsh-many",
        "<O>: ok\n<N>: ImportError: libcudart.so.12: cannot open shared object file: No such file or directory\n",
    ),
    Named(
        "parallel-ssh",
        f"[1] 10:00:01 [SUCCESS] <O>\nok\n[2] 10:00:02 [FAILURE] <N> Exited with error code 18\nStderr: {NVML}\n",
    ),
    Named(
        "ansible",
        f'ok: [<O>]\nfatal: [<N>]: FAILED! => {{"changed": true, "cmd": "nvidia-smi", "rc": 18, "stdout": "{NVML}"}}\n',
    ),
    Named(
        "ansible-adhoc", f"<O> | CHANGED | rc=0 >>\nok\n<N> | FAILED | rc=18 >>\n{NVML}non-zero return code\n"
    ),
    Named(
        "ansible-unreachable",
        'fatal: [<N>]: UNREACHABLE! => {"changed": false, "msg": "Failed to connect to the host via ssh: Permission denied (publickey).", "unreachable": true}\n',
    ),
    Named("salt", f"<O>:\n    ok\n<N>:\n    {NVML}\nERROR: Minions returned with non-zero exit code\n"),
    Named("fabric", f"[<O>] out: ok\n[<N>] out: {NVML}\n"),
    Named(
        "mpirun-tag",
        "[1,0]<stdout>:ready\n[1,1]<stderr>:<N>:77:77 [0] misc/socket.cc:1 NCCL WARN Call to connect returned Connection timed out\n",
    ),
    Named(
        "mpirun-abort",
        "Primary job  terminated normally, but 1 process returned a non-zero exit code.\nmpirun noticed that process rank 3 with PID 0 on node <N> exited on signal 9 (Killed).\n",
    ),
    Named(
        "prterun-launch",
        "PRTE was unable to start a daemon: ssh refused\nprterun was unable to launch the specified application as it could not access or execute an executable:\n\nExecutable: vllm\nNode: <N>\n\nwhile attempting to start process rank 1.\n",
    ),
    Named(
        "ompi-tagged",
        "[<N>:00077] *** Process received signal ***\n[<N>:00077] Signal: Bus error (7)\n[<N>:00077] Signal code: Non-existant physical address (2)\n",
    ),
    Named(
        "mpich",
        "[proxy:0@<O>] ok\n[proxy:1@<N>] HYDU_create_process: execvp error on file vllm (No such file or directory)\n",
    ),
    Named(
        "deepspeed",
        f'<O>: [INFO] ready\n<N>: Traceback (most recent call last):\n<N>:   File "/a.py", line 1, in <module>\n<N>: {NO_VLLM}\n<O>: ok\n',
        "10.0.0.2",
        "10.0.0.1",
    ),
    Named("deepspeed-name", f"<N>: Traceback (most recent call last):\n<N>: {NO_VLLM}\n<O>: ok\n"),
    Named("bracket-host", f"[<O>] ready\n[<N>] {OOM}\n"),
    Named("bracket-time", f"[2026-11-24 10:00:03] [<N>] {OOM}\n[2026-11-24 10:00:04] [<O>] ok\n"),
    Named("time-name", f"10:00:01 <O> ready\n2026-11-24 10:00:03,123 <N> ERROR worker.py:7 {OOM}\n"),
    Named(
        "python-logging-host",
        f"2026-11-24 10:00:03,123 - <N> - ERROR - {OOM}\n2026-11-24 10:00:04,123 - <O> - INFO - ok\n",
    ),
    Named("ray-actor", f"(W pid=1) ok\n(RayWorkerProc pid=77, ip=<N>) {OOM}\n", "10.0.0.2", "10.0.0.1"),
    Named(
        "ray-raylet",
        "(raylet, ip=<N>) [2026-11-24 10:00:03,123 E 7 7] (raylet) file_system_monitor.cc:111: /tmp/ray/session_x is over 95% full, available space: 1.2 GB; capacity: 98 GB. Object creation will fail if spilling is required.\n",
        "10.0.0.2",
    ),
    Named(
        "nccl",
        "<O>:11:11 [0] NCCL INFO ok\n<N>:77:99 [3] misc/shmutils.cc:72 NCCL WARN Error: failed to extend /dev/shm/nccl-abc to 33030532 bytes, error: No space left on device (28)\n",
    ),
    Named(
        "nccl-time",
        "[2026-11-24 10:00:03] <N>:77:99 [3] transport/net_ib.cc:1 NCCL WARN NET/IB : Got async event : port error\n",
    ),
    Named(
        "ucx",
        "[1764000000.123456] [<O>:1   :0]  parser.c:1 UCX  INFO ok\n[1764000001.123456] [<N>:77  :0]    ib_iface.c:1  UCX  ERROR ibv_create_cq(cqe=4096) failed: Cannot allocate memory : Please set max locked memory (ulimit -l) to 'unlimited'\n",
    ),
    Named("talos", f"<N>: kern: warning: [2026-11-24T10:00:03.1Z]: {XID}\n", "10.0.0.2"),
    Named("dmesg-T-host", f"[Tue Nov 24 10:00:03 2026] <N> kernel: {XID}\n"),
)

#: What stands above, beside or below the failing line.
AROUND = (
    Named("prompt-user", f"me@<O>:~$ ssh <N>\nme@<N>:~$ nvidia-smi\n{NVML}\n"),
    Named("prompt-root-hash", f"root@<N>:/workspace# python run.py\n{NO_GPU}\n"),
    Named("prompt-opensuse", f"<N>:~ # nvidia-smi\n{NVML}\n"),
    Named(
        "prompt-brackets", f"[me@<O> ~]$ exit\n(venv) [me@<N> milepost]$ python -c 'import vllm'\n{NO_VLLM}\n"
    ),
    Named("prompt-zsh", f"<N>% nvidia-smi\n{NVML}\n"),
    Named("prompt-zsh-arrow", f"me@<N> ~ % nvidia-smi\n{NVML}\n"),
    Named("prompt-fish", f"me@<N> ~/work> nvidia-smi\n{NVML}\n"),
    Named("prompt-root-dir", f"root@<N> /opt # nvidia-smi\n{NVML}\n"),
    Named("prompt-kali", f"┌──(me㉿<N>)-[~]\n└─$ nvidia-smi\n{NVML}\n"),
    Named("prompt-conda-time", f"(base) 10:00:03 me@<N>:/data$ nvidia-smi\n{NVML}\n"),
    Named("prompt-after", f"{NVML}\nme@<N>:~$ \n"),
    Named("prompt-host-only", f"[<N> ~]$ nvidia-smi\n{NVML}\n"),
    Named(
        "uname",
        f"$ uname -a\nLinux <N> 6.8.0-60-generic #63-Ubuntu SMP x86_64 GNU/Linux\n$ nvidia-smi\n{NVML}\n",
    ),
    Named("hostname-asked", f"$ hostname\n<N>\n$ nvidia-smi\n{NVML}\n"),
    Named("hostname-then", f"+ hostname\n<N>\n+ nvidia-smi\n{NVML}\n"),
    Named("hostname-env", f"HOSTNAME=<N>\nCUDA_VISIBLE_DEVICES=\n{NO_GPU}\n"),
    Named("slurmd-nodename", f"SLURM_NODELIST=gpu-[a3,b7]\nSLURMD_NODENAME=<N>\n{NO_GPU}\n"),
    Named("running-on", f"Running on host: <N>\nStarted 10:00\n{NO_GPU}\n"),
    Named("running-on-node", f"Job 123 started on <N> at Tue Nov 24 10:00:00 UTC 2026\n{NO_GPU}\n"),
    Named("hostnamectl", f" Static hostname: <N>\n       Icon name: computer-server\n{NVML}\n"),
    Named("ssh-command", f"$ ssh <O> nvidia-smi -L\nGPU 0: NVIDIA H100\n$ ssh <N> nvidia-smi -L\n{NVML}\n"),
    Named("ssh-loop", f"==== <O> ====\nGPU 0: NVIDIA H100\n==== <N> ====\n{NVML}\n"),
    Named("echo-colon", f"<O>:\nGPU 0: NVIDIA H100\n<N>:\n{NVML}\n"),
    Named("arrow-heading", f">>> <O>\nok\n>>> <N>\n{NVML}\n"),
    Named("tail-files", f"==> /logs/<O>.log <==\nok\n\n==> /logs/<N>.log <==\n{OOM}\n"),
    Named("grep-files", f"logs/<O>.log:ok\nlogs/<N>.log:{OOM}\n"),
    Named("grep-files-line", f"vllm-<O>.err:3:ok\n<N>.err:17:{OOM}\n"),
    Named("heading-md", f"### <O>\nok\n### <N>\n```\n{OOM}\n```\n"),
    Named(
        "heading-md-role", f"## Head (<O>)\nok\n## Worker (<N>)\n```\n{OOM}\n```\n", "10.0.0.2", "10.0.0.1"
    ),
    Named("heading-md-name-role", f"## Head: <O>\nok\n## Worker: <N>\n```\n{OOM}\n```\n"),
    Named("heading-bold", f"**<O>** works.\n\n**<N>**\n```\n{OOM}\n```\n"),
    Named(
        "heading-machine", f"Machine A (<O>)\nok\nMachine B (<N>)\n{NVML}\n", "192.168.1.11", "192.168.1.10"
    ),
    Named("heading-bracket", f"[<O>]\nok\n[<N>]\n{NVML}\n", "server2", "server1"),
    Named("on-worker", f"on <O>:\nok\non <N>:\n{NVML}\n", "worker-1", "worker-0"),
    Named(
        "prose-second",
        f"On the first node (<O>) all is well. On the second node (<N>) I get:\n```\n{NVML}\n```\n",
        "10.0.0.2",
        "10.0.0.1",
    ),
    Named("prose-while", f"nvidia-smi works on <O>, while on <N> it says:\n{NVML}\n"),
    Named("prose-only", f"Both <O> and <N> were rebooted. The log of <N>:\n\n{NVML}\n"),
    Named("prose-after", f"{NVML}\n\nThis is on <N>, <O> is fine.\n"),
    Named("prose-fails-on", f"The start fails on <N> with:\n\n    {CDI}\n\n<O> starts.\n"),
    Named("comment-shell", f"# on <O>\nnvidia-smi -L\nGPU 0: NVIDIA H100\n# on <N>\nnvidia-smi -L\n{NVML}\n"),
    Named("node-own-line-after", f"{OOM}\nNode: <N>\n"),
    Named("node-field-after", f"error: {OOM}\nhost: <N>\nrank: 3\n"),
    Named(
        "torchrun-table",
        f"{OOM}\n============================================================\nrun.py FAILED\n------------------------------------------------------------\nRoot Cause (first observed failure):\n[0]:\n  time      : 2026-11-24_10:00:03\n  host      : <N>\n  rank      : 9 (local_rank: 1)\n  exitcode  : 1 (pid: 77)\n",
    ),
    Named(
        "describe-pod",
        'Name:         vllm-1\nNode:         <N>/10.0.0.2\nEvents:\n  Warning  Failed  2m  kubelet  Failed to pull image "vllm/vllm-openai:v9": not found\n',
    ),
    Named(
        "describe-scheduled",
        "Events:\n  Normal   Scheduled  2m  default-scheduler  Successfully assigned ml/vllm-1 to <N>\n  Warning  Failed  2m  kubelet  Error: failed to create containerd task: OCI runtime create failed: nvidia-container-cli: initialization error: nvml error: driver not loaded\n",
    ),
    Named(
        "describe-node",
        "Name:               <N>\nRoles:              worker\nConditions:\n  DiskPressure     True    Tue, 24 Nov 2026   KubeletHasDiskPressure   kubelet has disk pressure\nEvents:\n  Warning  EvictionThresholdMet  1m  kubelet  Attempting to reclaim ephemeral-storage\n",
    ),
    Named(
        "get-pods-wide",
        "NAME     READY   STATUS             RESTARTS   AGE   IP           NODE     NOMINATED NODE   READINESS GATES\nvllm-0   1/1     Running            0          2m    10.244.0.5   <O>   <none>   <none>\nvllm-1   0/1     ImagePullBackOff   0          2m    10.244.1.6   <N>   <none>   <none>\n",
        "gpu-b7",
        "gpu-a3",
    ),
    Named(
        "get-nodes",
        "NAME     STATUS     ROLES    AGE   VERSION\n<O>   Ready      <none>   9d    v1.31.0\n<N>   NotReady   <none>   9d    v1.31.0\n",
    ),
    Named(
        "sinfo",
        "PARTITION AVAIL  TIMELIMIT  NODES  STATE NODELIST\ngpu*         up   infinite      1  down* <N>\ngpu*         up   infinite      1   idle <O>\n",
        "cn131",
        "cn130",
    ),
    Named("event-list", "2m  Warning  Failed  pod/vllm-1  kubelet, <N>  Error: ImagePullBackOff\n"),
    Named(
        "oom-k8s",
        "Warning  SystemOOM  1m  kubelet, <N>  System OOM encountered, victim process: VLLM::Worker, pid: 77\n",
    ),
    Named("nvidia-smi-host", f"=== nvidia-smi on <N> ===\n{NVML}\n=== nvidia-smi on <O> ===\nok\n"),
    Named("table-of-hosts", f"| node | result |\n|---|---|\n| <O> | ok |\n| <N> | {NVML} |\n"),
    Named("list-of-hosts", f"- <O>: ok\n- <N>: {NVML}\n"),
    Named("yaml-hosts", f'results:\n  <O>: ok\n  <N>: "{NVML}"\n'),
    Named("equals-host", f'node=<O> msg=ok\nnode=<N> level=error msg="{OOM}"\n'),
    Named("host-tail", f"{OOM} (host=<N>, rank=3)\n"),
    Named("host-tail-on", "RuntimeError: CUDA out of memory on <N>\n"),
    Named("exporter", f'ts=2026-11-24T10:00:03Z instance=<N>:9100 level=error msg="{XID}"\n'),
)

#: Who called against who is to be mended.
CALLED = (
    Named("ssh-refused", "me@<O>:~$ ssh <N>\nssh: connect to host <N> port 22: Connection refused\n"),
    Named("ssh-publickey", "me@<O>:~$ ssh <N> hostname\nme@<N>: Permission denied (publickey,password).\n"),
    Named(
        "ssh-publickey-from-syslog",
        "Nov 24 10:00:03 <O> vllm[7]: ubuntu@<N>: Permission denied (publickey).\n",
    ),
    Named(
        "ssh-timeout",
        "root@<O>:/# ssh <N> true\nssh: connect to host <N> port 22: Connection timed out\n",
        "10.0.0.2",
    ),
    Named("ssh-hostkey", "me@<O>:~$ ssh <N>\nHost key verification failed.\n"),
    Named(
        "ssh-resolve",
        "me@<O>:~$ ssh <N> true\nssh: Could not resolve hostname <N>: Name or service not known\n",
    ),
    Named(
        "ssh-password-asked",
        "me@<O>:~$ mpirun -H <O>,<N> hostname\nme@<N>'s password: \nPermission denied, please try again.\n",
    ),
    Named(
        "scp-full",
        'me@<O>:~$ scp model.tar <N>:/data/\nscp: write remote "/data/model.tar": Failure\nscp: /data/model.tar: No space left on device\n',
    ),
    Named(
        "rsync-full",
        'me@<O>:~$ rsync -a model/ me@<N>:/data/model/\nrsync: [receiver] write failed on "/data/model/a.safetensors": No space left on device (28)\n',
    ),
    Named(
        "gcs-refused",
        "(raylet, ip=<O>) [2026-11-24 10:00:03,1 E 7 7] rpc_client.h:1: Failed to connect to GCS at address <N>:6379 within 5 seconds.\n",
        "10.0.0.1",
        "10.0.0.2",
    ),
    Named(
        "ray-start-refused",
        "root@<O>:/# ray start --address <N>:6379\nray.exceptions.RpcError: failed to connect to all addresses; last error: UNKNOWN: ipv4:<N>:6379: Failed to connect to remote host: Connection refused\n",
        "10.0.0.1",
        "gpu-a3",
    ),
    Named(
        "tcpstore",
        "[rank1]: torch.distributed.DistNetworkError: The client socket has timed out after 600000ms while trying to connect to (<N>, 29500).\n",
        "10.0.0.1",
    ),
    Named(
        "tcpstore-printed-by",
        "Nov 24 10:00:03 <O> vllm[7]: [c10d] The client socket has failed to connect to [<N>]:29500 (errno: 110 - Connection timed out).\n",
    ),
    Named(
        "nccl-connect",
        "<O>:7:7 [0] misc/socket.cc:1 NCCL WARN socketStartConnect: Connect to <N><45763> failed : Connection refused\n",
        "10.0.0.2",
    ),
    Named(
        "nccl-peer-closed",
        "<O>:7:7 [0] misc/socket.cc:1 NCCL WARN socketProgress: Connection closed by remote peer <N><57557>\n",
    ),
    Named(
        "gloo-mesh",
        "RuntimeError: Gloo connectFullMesh failed with [../third_party/gloo/gloo/transport/tcp/pair.cc:144] no error: connect timed out, remote=[<N>]:34567\n",
        "10.0.0.2",
    ),
    Named(
        "docker-pull-registry",
        'me@<N>:~$ docker pull <O>:5000/vllm:1\nError response from daemon: Get "https://<O>:5000/v2/": http: server gave HTTP response to HTTPS client\n',
    ),
    Named("nfs-stale", "me@<N>:~$ ls /models\nls: cannot access '/models': Stale file handle\n"),
    Named(
        "port-taken",
        "me@<N>:~$ ray start --head\nOSError: [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use\n",
    ),
    Named(
        "node-dead-told-by-head",
        "2026-11-24 10:00:03,1 WARNING worker.py:1 -- The node with node id: abc and address: <N> and node name: <N> has been marked dead because the detector has missed too many heartbeats from it.\n",
        "10.0.0.2",
    ),
    Named(
        "dead-actor",
        "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.\n\tclass_name: RayWorkerWrapper\n\tpid: 77\n\tip: <N>\nThe actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a connection error code 2. End of file.\n",
        "10.0.0.2",
    ),
    Named(
        "ray-oom-kill",
        "(raylet) 1 Workers (tasks / actors) killed due to memory pressure (OOM), 0 Workers crashed due to other reasons at node (ID: abc, IP: <N>) over the last time period.\n",
        "10.0.0.2",
    ),
    Named(
        "ray-task-error",
        f'ray.exceptions.RayTaskError(OutOfMemoryError): ray::RayWorkerWrapper.execute_method() (pid=77, ip=<N>, actor_id=abc)\n  File "/a.py", line 1\n{OOM}\n',
        "10.0.0.2",
    ),
    Named(
        "ray-no-node-resource",
        "ValueError: Current node IP <O> ... \nRuntimeError: This node has an IP address of <N>, but we cannot find a local Raylet with the same address.\n",
        "10.0.0.2",
        "172.17.0.1",
    ),
    Named(
        "k8s-dns",
        "<O>: ssh: Could not resolve hostname <N>: Name or service not known\n",
        "vllm-worker-1",
        "vllm-head-0",
    ),
    Named(
        "http-refused",
        "me@<O>:~$ curl http://<N>:8000/health\ncurl: (7) Failed to connect to <N> port 8000 after 0 ms: Connection refused\n",
        "10.0.0.1",
    ),
    Named(
        "hub-from",
        "me@<N>:~$ hf download Qwen/Qwen3-8B\nrequests.exceptions.ConnectionError: (MaxRetryError(\"HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded\"))\n",
    ),
    Named(
        "ping-unreachable",
        "me@<O>:~$ ping -c1 <N>\nFrom <O> icmp_seq=1 Destination Host Unreachable\nping: sendmsg: No route to host\n",
        "10.0.0.2",
        "10.0.0.1",
    ),
    Named("munge", "slurmd: error: Node <N>: munge decode failed: Expired credential\n", "cn131"),
)

CASES = PREFIXED + AROUND + CALLED

#: What stands in such places and is no machine.
THINGS = (
    "rank0",
    "rank 3",
    "Stage-0",
    "TP0",
    "H100",
    "A100-SXM4-80GB",
    "GB200",
    "cuda12",
    "python3.11",
    "libnccl.so.2",
    "mlx5_0",
    "eth0",
    "Qwen3-8B",
    "Llama-3.1-70B",
    "vllm-0.11.2",
    "torch2.8",
    "worker.py",
    "sha256",
    "fp8",
    "step-12",
    "GPU0",
    "utf-8",
    "0.0.0.0",
    "127.0.0.1",
    "Qwen3MoeForCausalLM",
    "c10d",
    "debug1",
    "urllib3.exceptions.MaxRetryError",
    "nvidia-nvswitch1",
    "ubuntu22.04",
    "EngineCore_0",
)
