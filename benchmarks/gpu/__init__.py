"""How fast is omni-bg on a GPU? The eight measurements, and the whole job against stock diffusers, on random weights.

    python -m benchmarks.gpu                              everything, in this order, until it is done
    python -m benchmarks.gpu --list                       the parts and what each measures
    python -m benchmarks.gpu --only unet nets --budget 540
    python -m benchmarks.gpu --pages a.jsonl b.jsonl --out all.md    measure nothing, write one page of several runs

Random weights at full size (the public configurations of benchmarks/full_size.py, made on the GPU in bfloat16) give
true speeds and no pictures. Nothing is downloaded. Without a GPU the same code runs on the tiny weights in float32, and
the page says that no GPU was measured. Run from the repository's root.

What must be importable: torch, diffusers, transformers, safetensors, numpy, PIL, cv2, pydantic. spandrel for the part
`upscaler` alone (and for the tiny weights); torchao is used for `fp8` where it is there. Not needed: prefect, a
database, this project installed. Compiling needs triton and a C compiler.

Piece by piece, for a machine lent for minutes at a time: each line a command of less than ten minutes, most telling
first. They add their lines to one file (OUT with .jsonl), and the page is written anew after each measurement, so a
killed command keeps what it measured. --budget S starts no measurement after S seconds and says which were left; a
measurement under way is not cut, so leave it a minute or two (compiling is the long one).

    python -m benchmarks.gpu --out r.md --budget 480 --only job unet nets attention upscaler
    python -m benchmarks.gpu --out r.md --budget 420 --only job-compiled
    python -m benchmarks.gpu --out r.md --budget 420 --only job-setting
    python -m benchmarks.gpu --out r.md --budget 420 --only loop unet-compiled --batches 3
    python -m benchmarks.gpu --out r.md --budget 420 --only fp8 load --load-gb 17.7

`--mode default` compiles in a fraction of the time of max-autotune, where minutes are short. Every command begins with
the matrix product that the shares are of.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # flops and full_size, scripts that find each other there
