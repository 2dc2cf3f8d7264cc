"""A new process that compiles a UNet's regions and calls it once: python -m benchmarks.gpu.first_call DEVICE MODE

Prints one line of JSON. On a CPU a single region of the tiny UNet, by inductor all the same: what is asked is what its
cache saves.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

BEGIN = perf_counter()


def main(device: str, mode: str) -> None:
    import torch

    from benchmarks.gpu.bench import FULL, TINY, Bench
    from benchmarks.gpu.compiling import compile_parts
    from benchmarks.gpu.nets import unet_call, weights_of

    imported = perf_counter() - BEGIN
    bench = Bench(device=device, scale=FULL if device == "cuda" else TINY, keep=lambda record: None)
    with torch.inference_mode():
        net = weights_of(bench).unet()
        if device == "cuda":
            compile_parts([net], mode, device)
        else:
            net.down_blocks[1].attentions[0].transformer_blocks[0].compile(dynamic=False)
        call = unet_call(bench, net, 3)
        begin = perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
    print(json.dumps({"wall_ms": 1e3 * (perf_counter() - begin), "imports_s": imported}))


if __name__ == "__main__":
    main(*sys.argv[1:])
