"""Write the C functions of the stand-in that are many and alike: `generate.py SITE_PACKAGES CUDA_HEADERS`.

`stubs.c`: every function of cuDNN, cuBLAS, cuSOLVER and cuSPARSE that the PyTorch of SITE_PACKAGES asks for.
`driver_rest.c`: every function of the driver that `cuda.h` in CUDA_HEADERS declares and `driver.c` does not define.
Both are written into the current folder.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
LIBRARIES = ("libtorch_cuda.so", "libtorch_cuda_linalg.so", "libtorch_python.so")
NAME = re.compile(r"\b(cudnn[A-Z]\w*|cublas(?:Lt)?[A-Z]\w*|cusolver\w+|cusparse[A-Z]\w+)")

# Types of the searches for algorithms; what they contain is the same for the three kinds of convolutions.
STUBS_HEAD = """\
#include "counters.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void *cudnnHandle_t;
typedef int cudnnStatus_t;
typedef struct {
    int algo;
    int status;
    float time;
    size_t memory;
    int determinism;
    int mathType;
    int reserved[3];
} performance;
"""
# A search finds the algorithm number 1, deterministic, on tensor cores (mathType 3), without a workspace.
CONVOLUTION = """\
int cudnnFindConvolution{kind}AlgorithmEx(cudnnHandle_t h, void *a, const void *b, void *c, const void *d, void *e,
                                          void *f, void *g, int asked, int *found, performance *p, void *space,
                                          size_t bytes) {{
    *p = (performance){{.algo = 1, .time = 1, .determinism = 1, .mathType = 3}};
    *found = 1;
    standin_count("cudnnFind{kind}");
    return 0;
}}
int cudnnGetConvolution{kind}Algorithm_v7(cudnnHandle_t h, void *a, void *b, void *c, void *d, int asked, int *found,
                                          performance *p) {{
    *p = (performance){{.algo = 1, .determinism = 1, .mathType = 3}};
    *found = 1;
    return 0;
}}
int cudnnGetConvolution{kind}WorkspaceSize(cudnnHandle_t h, void *a, void *b, void *c, void *d, int algo,
                                           size_t *bytes) {{
    *bytes = 0;
    return 0;
}}
int cudnnConvolution{kind}(void) {{
    standin_cudnn++;
    standin_count("cudnnConvolution{kind}");
    return 0;
}}
"""
CONVOLUTIONS = ("Forward", "BackwardData", "BackwardFilter")
SPECIAL = {
    "cudnnGetVersion": "size_t cudnnGetVersion(void) { return 91900; }",
    "cudnnGetCudartVersion": "size_t cudnnGetCudartVersion(void) { return 13000; }",
    "cudnnGetErrorString": 'const char *cudnnGetErrorString(int status) { return "an error of the stand-in"; }',
    "cudnnGetLastErrorString": 'void cudnnGetLastErrorString(char *text, size_t bytes) { strncpy(text, "", bytes); }',
    "cublasLtGetVersion": "size_t cublasLtGetVersion(void) { return 130100; }",
    "cublasLtMatmulAlgoGetHeuristic": (
        "int cublasLtMatmulAlgoGetHeuristic(void *h, void *d, void *a, void *b, void *c, void *dd, void *p, int asked, "
        "void *results, int *found) { memset(results, 0, 96); *found = 1; return 0; }"
    ),
}
# Functions that give a size of zero through their last argument, and how many arguments they have.
SIZES = {
    "cudnnGetBatchNormalizationTrainingExReserveSpaceSize": 6,
    "cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize": 9,
    "cudnnGetBatchNormalizationBackwardExWorkspaceSize": 11,
}
_COUNTED = re.compile(r"cublas\w*(gemm|Gemm|gemv|Matmul$|dot|Dot|trsm)")
_SETTINGS = ("cublasGetPointerMode_v2", "cublasGetMathMode")
# Declarations of cuda.h, and the versions and streams' variants that its macros name.
_DRIVER = (
    r"\b(cu[A-Z][A-Za-z0-9]*(?:_v\d+)?(?:_ptsz|_ptds)?)\s*\(",
    r"#define\s+cu\w+\s+__CUDA_API_PT(?:SZ|DS)\((cu\w+)\)",
    r"#define\s+cu\w+\s+(cu\w+_v\d+)",
)


def wanted_functions(site: Path) -> list[str]:
    """Return what PyTorch's libraries ask of NVIDIA's, by name."""
    libraries = [str(site / "torch/lib" / name) for name in LIBRARIES]
    symbols = subprocess.run(["nm", "-D", "--undefined-only", *libraries], capture_output=True, text=True, check=True)
    return sorted(set(NAME.findall(symbols.stdout)))


def stubs(names: list[str]) -> str:
    """Return the C of all functions that `cudnn_graph.c` does not define."""
    parts = [STUBS_HEAD, *(CONVOLUTION.format(kind=kind) for kind in CONVOLUTIONS), *SPECIAL.values()]
    defined = set(SPECIAL) | {name for part in parts for name in re.findall(r"^int (\w+)\(", part, re.MULTILINE)}
    parts += [_stub(name) for name in names if name not in defined and not name.startswith("cudnnBackend")]
    return "\n".join(parts) + "\n"


def _stub(name: str) -> str:
    """Return a function that succeeds: it creates, counts, answers zero, or does nothing."""
    if name in SIZES:
        arguments = ", ".join(f"void *a{number}" for number in range(SIZES[name] - 1))
        return f"int {name}({arguments}, size_t *bytes) {{ *bytes = 0; return 0; }}"
    if re.search(r"cudnnGet.*WorkspaceSize|ReserveSpaceSize", name):
        return f"int {name}(void) {{ return 0; }}"
    if "Create" in name:
        return f"int {name}(void **handle) {{ *handle = calloc(1, 4096); return 0; }}"
    if _COUNTED.search(name):
        return f'int {name}(void) {{ standin_cublas++; standin_count("{name}"); return 0; }}'
    if name.startswith("cudnnBatchNormalization"):
        return f'int {name}(void) {{ standin_cudnn++; standin_count("{name}"); return 0; }}'
    if name in _SETTINGS:
        return f"int {name}(void *handle, int *mode) {{ *mode = 0; return 0; }}"
    return f"int {name}(void) {{ return 0; }}"


def driver_rest(header: str, defined: set[str]) -> str:
    """Return a function that succeeds for each that the driver's header names and nobody has defined."""
    names = sorted({name for pattern in _DRIVER for name in re.findall(pattern, header)} - defined)
    return "".join(f"__attribute__((weak)) int {name}(void) {{ return 0; }}\n" for name in names)


def main() -> None:
    """Write both files."""
    site, headers = (Path(argument) for argument in sys.argv[1:3])
    names = wanted_functions(site)
    Path("stubs.c").write_text(stubs(names))
    defined = set(re.findall(r"^int (cu\w+)\(", (HERE / "driver.c").read_text(), re.MULTILINE))
    rest = driver_rest((headers / "cuda.h").read_text(), defined)
    Path("driver_rest.c").write_text(rest)
    print(f"{len(names)} functions that PyTorch asks for, {len(defined)} + {rest.count('weak')} of the driver")


if __name__ == "__main__":
    main()
