#!/bin/sh
# build.sh PYTHON [FOLDER]: build the libraries for the torch of that Python, into FOLDER (default: build/ beside this file).
# CUDA_INC: the folder of cuda.h, of a CUDA 13 toolkit.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${2:-$here/build}
headers=${CUDA_INC:-/usr/local/cuda-13.0/include}
site=$("$1" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])')
mkdir -p "$build" && cd "$build"
"$1" "$here/generate.py" "$site" "$headers"
compile="gcc -shared -fPIC -O1 -w -I$here -I$headers"
runtime="$here/counters.c $here/device.c $here/memory.c $here/streams.c $here/launches.c"
$compile $runtime -o libstandin_cudart.so -ldl -lpthread
$compile -I"$site/nvidia/cudnn/include" stubs.c "$here/cudnn_graph.c" -o libstandin_libs.so -L. -lstandin_cudart
$compile -Wl,-soname,libcuda.so.1 "$here/driver.c" driver_rest.c -o libcuda.so.1 -ldl
ln -sf libcuda.so.1 libcuda.so
