"""Compiles StableHLO for accelerators on a machine without any, and counts memory.

Usage: python compiler.py --target=h100|v4|v5e|v6e [--replicas=N] FILE...

Run in a process of its own: it needs JAX (`pip install tfbn[aot]`) and not TensorFlow.
XLA's compilers for TPUs and GPUs come as Python packages, and compile for a device that
is only described. Prints one line of JSON for each file:

  error        why it does not compile, or null
  bytes        what the compiled program reads and writes
  kernels      how many kernels a GPU runs; null for a TPU
  argument     bytes of its largest argument
  temporary    bytes of memory beside arguments and results
  collectives  how many all-reduces and the like

Bytes of a TPU program are XLA's own count. For a GPU, XLA gives none; they are operands
and results of the kernels of the optimised program, of a sliced operand the slice.
"""

import argparse
import importlib.metadata
import json
import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
# Nothing is to ask the network which TPU this machine is.
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
# No TPU is taken, so other processes may compile at the same time.
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")

import hlo
import jax
import numpy as np
from jax._src import compiler
from jax._src.interpreters import mlir
from jax._src.lib import _jax
from jax._src.lib.mlir import ir
from jax.experimental import topologies

TPUS = {"v4": "v4:2x2x1", "v5e": "v5e:2x2", "v6e": "v6e:2x2"}
GPUS = {
    # SXM, 80 GB.
    "h100": """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  threads_per_core_limit: 2048
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  device_memory_size: 84942979072
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  cuda_compute_capability { major: 9 minor: 0 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
""",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--target", choices=[*TPUS, *GPUS])
    parser.add_argument("--replicas", type=int, default=1, help="of each program")
    parser.add_argument("--versions", action="store_true", help="print those of JAX")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    if options.versions:
        packages = ("jax", "libtpu", "jax-cuda12-plugin")
        print(json.dumps({name: importlib.metadata.version(name) for name in packages}))
        return
    chips = described_devices(options.target)[: options.replicas]
    for path in options.files:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        result = measure(text, chips, count_kernels=options.target in GPUS)
        print(json.dumps(result), flush=True)


def described_devices(target):
    """The devices to compile for."""
    jax.devices()  # registers the plugins
    if target in TPUS:
        topology = topologies.get_topology_desc(
            platform="tpu", topology_name=TPUS[target]
        )
    else:
        topology = topologies.get_topology_desc(
            platform="cuda",
            topology_name=target,
            target_config=GPUS[target],
            topology="1x1x1",
        )
    return topology.devices


def measure(text, chips, *, count_kernels):
    """The line for a module, as a dict; each of the chips runs a replica of it."""
    options = compiler.get_compile_options(
        num_replicas=len(chips),
        num_partitions=1,
        device_assignment=np.array([[chip.id] for chip in chips]),
    )
    with mlir.make_ir_context():
        module = ir.Module.parse(text)
    try:
        client, devices = chips[0].client, _jax.DeviceList(tuple(chips))
        program = client.compile(module, devices, options)
    except jax.errors.JaxRuntimeError as error:
        return {"error": " ".join(str(error).split())[:200]}
    text = program.hlo_modules()[0].to_string()
    if count_kernels:
        kernels, traffic = hlo.kernels(text)
    else:
        kernels, costs = None, program.cost_analysis()
        traffic = (costs[0] if isinstance(costs, list) else costs)["bytes accessed"]
    return {
        "error": None,
        "bytes": traffic,
        "kernels": kernels,
        "argument": hlo.largest_argument(text),
        "temporary": program.get_compiled_memory_stats().temp_size_in_bytes,
        "collectives": hlo.num_collectives(text),
    }


if __name__ == "__main__":
    main()
