# SPDX-License-Identifier: Apache-2.0
"""bench/peers/compare.py still works: its outputs agree with PyTorch's and ONNX Runtime's for each of their cells.

    python compare_speed.py LIBGATEKERN.SO     or GATEKERN_LIBRARY=...

The speeds of these short runs mean nothing. oneDNN is compared where bench/peers/build_onednn has been run.
"""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
COMPARE = os.path.join(HERE, "..", "..", "bench", "peers", "compare.py")
SHAPES = ["lstm,33,20,3,5", "gru,20,20,3,5,2", "rnn,20,33,3,5"]


def main():
    library = os.path.abspath((sys.argv[1:] or [os.environ["GATEKERN_LIBRARY"]])[0])
    program = os.path.join(os.path.dirname(library), "gatekern")
    good = True
    for passes in ("step", "inference"):
        command = [sys.executable, COMPARE, "--pass", passes, "--peers", "pytorch,onnxruntime", "--rounds", "1",
                   "--seconds", "0.01", "--program", program, "--library", library]
        for shape in SHAPES:
            command += ["--shape", shape]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        rows = [line for line in result.stdout.splitlines() if "PyTorch x" in line]
        print(" ".join(command), result.stdout, result.stderr, sep="\n")
        good = good and result.returncode == 0 and len(rows) >= len(SHAPES)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
