#!/bin/sh
# run.sh COMMAND...: run a command with the stand-in for a GPU. STANDIN_BUILD: where build.sh built it (build/ beside this file).
here=${STANDIN_BUILD:-$(cd "$(dirname "$0")" && pwd)/build}
export LD_PRELOAD="$here/libstandin_cudart.so:$here/libstandin_libs.so" TRITON_LIBCUDA_PATH="$here"
export LD_LIBRARY_PATH="$here${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$@"
