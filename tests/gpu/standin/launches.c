// Kernels: registered by name, counted when launched, never run. And what looks for functions by name.
#define _GNU_SOURCE
#include "counters.h"
#include "device.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

// A hash table with open addressing, from a kernel's address to its name.
#define PLACES (1u << 18)

static struct {
    const void *kernel;
    const char *name;
} table[PLACES];

static unsigned place_of(const void *kernel) {
    return (unsigned)(((uintptr_t)kernel >> 4) * 2654435761u) & (PLACES - 1);
}

void __cudaRegisterFunction(void **handle, const char *kernel, char *d, const char *name, int limit, void *a, void *b,
                            void *c, void *e, int *f) {
    unsigned place = place_of(kernel);
    for (unsigned tried = 0; tried < PLACES; tried++, place = (place + 1) & (PLACES - 1))
        if (!table[place].kernel || table[place].kernel == kernel) {
            table[place].kernel = kernel;
            table[place].name = name;
            return;
        }
}

static const char *kernel_name(const void *kernel) {
    unsigned place = place_of(kernel);
    for (unsigned tried = 0; tried < PLACES; tried++, place = (place + 1) & (PLACES - 1)) {
        if (table[place].kernel == kernel) return table[place].name;
        if (!table[place].kernel) break;
    }
    return "?";
}

static cudaError_t launch(const void *kernel) {
    standin_launches++;
    standin_count(kernel_name(kernel));
    return cudaSuccess;
}

void **__cudaRegisterFatBinary(void *binary) {
    static void *handle[4];
    return handle;
}
void __cudaRegisterFatBinaryEnd(void **h) {}
void __cudaUnregisterFatBinary(void **h) {}
void __cudaRegisterVar(void **h, char *a, char *b, const char *c, int d, size_t e, int f, int g) {}

// The configuration of the launch that follows.
static __thread dim3 pushed_grid, pushed_block;
static __thread size_t pushed_shared;
static __thread void *pushed_stream;

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream) {
    pushed_grid = grid;
    pushed_block = block;
    pushed_shared = shared;
    pushed_stream = stream;
    return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream) {
    *grid = pushed_grid;
    *block = pushed_block;
    *shared = pushed_shared;
    *(void **)stream = pushed_stream;
    return cudaSuccess;
}
cudaError_t __cudaGetKernel(void **k, const void *f) {
    *k = (void *)f;
    return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(void *k, dim3 g, dim3 b, void **a, size_t s, void *st) { return launch(k); }
cudaError_t cudaLaunchKernel(const void *k, dim3 g, dim3 b, void **a, size_t s, cudaStream_t st) { return launch(k); }
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *k, void **a) { return launch(k); }

// Stands in for driver functions that nothing here knows.
int standin_anything(void) { return 0; }

cudaError_t CUDARTAPI cudaFuncGetAttributes(struct cudaFuncAttributes *a, const void *f) {
    memset(a, 0, sizeof *a);
    a->maxThreadsPerBlock = 1024;
    a->numRegs = 32;
    a->binaryVersion = 90;
    a->ptxVersion = 90;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaFuncSetAttribute(const void *f, enum cudaFuncAttribute a, int v) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *f, int b, size_t s,
                                                                             unsigned fl) {
    *n = 4;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGetDriverEntryPointByVersion(const char *s, void **f, unsigned v, unsigned long long fl,
                                                       enum cudaDriverEntryPointQueryResult *r) {
    void *q = dlsym(RTLD_DEFAULT, s);
    *f = q ? q : (void *)standin_anything;
    if (r) *r = cudaDriverEntryPointSuccess;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGetDriverEntryPoint(const char *s, void **f, unsigned long long fl,
                                              enum cudaDriverEntryPointQueryResult *r) {
    return cudaGetDriverEntryPointByVersion(s, f, DRIVER_VERSION, fl, r);
}
cudaError_t CUDARTAPI cudaFuncGetName(const char **n, const void *f) {
    *n = kernel_name(f);
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *f, int b, size_t s) {
    *n = 4;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGetFuncBySymbol(cudaFunction_t *f, const void *s) {
    *f = (void *)s;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaLibraryLoadData(cudaLibrary_t *l, const void *c, enum cudaJitOption *a, void **b, unsigned n,
                                          enum cudaLibraryOption *o, void **ov, unsigned no) {
    *l = (void *)1;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaLibraryGetKernel(cudaKernel_t *k, cudaLibrary_t l, const char *n) {
    *k = (void *)strdup(n);
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaLibraryUnload(cudaLibrary_t l) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaKernelSetAttributeForDevice(cudaKernel_t k, enum cudaFuncAttribute a, int v, int d) {
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGetDriverEntryPoint_ptsz(const char *s, void **f, unsigned long long fl,
                                                   enum cudaDriverEntryPointQueryResult *r) {
    return cudaGetDriverEntryPointByVersion(s, f, DRIVER_VERSION, fl, r);
}
