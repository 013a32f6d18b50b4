// The runtime's device: one, that is always ready.
#include "device.h"
#include "counters.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <string.h>

#undef cudaGetDeviceProperties

size_t standin_total(void);

cudaError_t CUDARTAPI cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    switch ((int)attribute) {
    case cudaDevAttrMultiProcessorCount: *value = MULTIPROCESSORS; break;
    case cudaDevAttrComputeCapabilityMajor: *value = CAPABILITY_MAJOR; break;
    case cudaDevAttrComputeCapabilityMinor: *value = CAPABILITY_MINOR; break;
    case cudaDevAttrMaxThreadsPerBlock: *value = THREADS_PER_BLOCK; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = THREADS_PER_MULTIPROCESSOR; break;
    case cudaDevAttrWarpSize: *value = WARP_SIZE; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = SHARED_PER_BLOCK; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = SHARED_PER_BLOCK_OPTIN; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = SHARED_PER_MULTIPROCESSOR; break;
    case cudaDevAttrMaxGridDimX: *value = 2147483647; break;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ: *value = 65535; break;
    case cudaDevAttrMaxRegistersPerBlock: *value = REGISTERS; break;
    default: *value = 0;
    }
    return cudaSuccess;
}

cudaError_t CUDARTAPI cudaGetDeviceProperties(struct cudaDeviceProp *p, int device) {
    memset(p, 0, sizeof *p);
    strcpy(p->name, DEVICE_NAME);
    p->totalGlobalMem = standin_total();
    p->sharedMemPerBlock = SHARED_PER_BLOCK;
    p->sharedMemPerBlockOptin = SHARED_PER_BLOCK_OPTIN;
    p->sharedMemPerMultiprocessor = SHARED_PER_MULTIPROCESSOR;
    p->regsPerBlock = p->regsPerMultiprocessor = REGISTERS;
    p->warpSize = WARP_SIZE;
    p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = THREADS_PER_BLOCK;
    p->maxThreadsDim[2] = 64;
    p->maxThreadsPerMultiProcessor = THREADS_PER_MULTIPROCESSOR;
    p->maxGridSize[0] = 2147483647;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->major = CAPABILITY_MAJOR;
    p->minor = CAPABILITY_MINOR;
    p->multiProcessorCount = MULTIPROCESSORS;
    p->l2CacheSize = 60 << 20;
    p->textureAlignment = 512;
    p->memoryBusWidth = MEMORY_BUS_BITS;
    return cudaSuccess;
}

const char *CUDARTAPI cudaGetErrorString(cudaError_t e) {
    return e == cudaErrorMemoryAllocation ? "out of memory" : "an error of the stand-in";
}
const char *CUDARTAPI cudaGetErrorName(cudaError_t e) { return "standinError"; }
cudaError_t CUDARTAPI cudaGetDeviceCount(int *c) {
    *c = 1;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGetDevice(int *d) {
    *d = 0;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaSetDevice(int d) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaGetLastError(void) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaPeekAtLastError(void) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaDriverGetVersion(int *v) {
    *v = DRIVER_VERSION;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaRuntimeGetVersion(int *v) {
    *v = DRIVER_VERSION;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaDeviceSynchronize(void) {
    standin_sync++;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaDeviceCanAccessPeer(int *a, int b, int c) {
    *a = 0;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaDeviceEnablePeerAccess(int a, unsigned b) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaDeviceGetPCIBusId(char *s, int n, int d) {
    snprintf(s, n, "0000:00:00.0");
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaDeviceGetStreamPriorityRange(int *a, int *b) {
    *a = 0;
    *b = -5;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaDeviceGetDefaultMemPool(cudaMemPool_t *p, int d) {
    *p = (void *)1;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaProfilerStart(void) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaProfilerStop(void) { return cudaSuccess; }
int cuDevicePrimaryCtxGetState(int d, unsigned *f, int *a) {
    *f = 0;
    *a = 1;
    return 0;
}
cudaError_t CUDARTAPI cudaDeviceReset(void) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaDeviceSetLimit(enum cudaLimit l, size_t v) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaDeviceGetLimit(size_t *v, enum cudaLimit l) {
    *v = 0;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaInitDevice(int a, unsigned b, unsigned c) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaGetDeviceFlags(unsigned *f) {
    *f = 0;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaSetDeviceFlags(unsigned f) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaCtxResetPersistingL2Cache(void) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaDeviceGetByPCIBusId(int *d, const char *s) {
    *d = 0;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaDeviceGetP2PAttribute(int *v, enum cudaDeviceP2PAttr a, int b, int c) {
    *v = 0;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaDeviceGetMemPool(cudaMemPool_t *p, int d) {
    *p = (void *)1;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaDeviceSetMemPool(int d, cudaMemPool_t p) { return cudaSuccess; }
