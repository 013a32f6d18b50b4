// The device's memory: reserved address space, which costs nothing until it is written.
#define _GNU_SOURCE
#include "counters.h"
#include "device.h"

#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096ull
#define MOST_BLOCKS 65536
// Not for allocations, as on a device whose context takes some.
#define CONTEXT_BYTES (512ull << 20)
// Small values within the device are copied, since the host may read them; large ones are garbage anyway.
#define COPIED_BYTES 65536

typedef struct {
    void *start;
    size_t bytes;
} block;

static block blocks[MOST_BLOCKS];
static int used_blocks;
static size_t total = DEVICE_MIB << 20, used, peak;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

// STANDIN_GPU_MIB=5000 makes the device small.
static __attribute__((constructor)) void read_size(void) {
    char *mib = getenv("STANDIN_GPU_MIB");
    if (mib) total = (size_t)atoll(mib) << 20;
}

size_t standin_total(void) { return total; }
size_t standin_used(void) { return used; }
size_t standin_peak(void) { return peak; }
void standin_peak_reset(void) { peak = used; }

static void *reserve(size_t bytes) {
    void *start = MAP_FAILED;
    bytes = (bytes + PAGE - 1) & ~(PAGE - 1);
    pthread_mutex_lock(&mutex);
    if (used + bytes <= total - CONTEXT_BYTES && used_blocks < MOST_BLOCKS)
        start = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start != MAP_FAILED) {
        blocks[used_blocks++] = (block){start, bytes};
        used += bytes;
        if (used > peak) peak = used;
    }
    pthread_mutex_unlock(&mutex);
    return start == MAP_FAILED ? 0 : start;
}

static void release(void *start) {
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < used_blocks; i++)
        if (blocks[i].start == start) {
            munmap(start, blocks[i].bytes);
            used -= blocks[i].bytes;
            blocks[i] = blocks[--used_blocks];
            break;
        }
    pthread_mutex_unlock(&mutex);
}

static int is_on_device(const void *pointer) {
    const char *p = pointer;
    for (int i = 0; i < used_blocks; i++)
        if (p >= (char *)blocks[i].start && p < (char *)blocks[i].start + blocks[i].bytes) return 1;
    return 0;
}

static void copy(void *to, const void *from, size_t bytes) {
    int device_to = is_on_device(to), device_from = is_on_device(from);
    standin_memcpy++;
    standin_memcpy_bytes += bytes;
    if (!(device_to && device_from) || bytes <= COPIED_BYTES) memmove(to, from, bytes);
    standin_count(device_to && device_from ? "memcpy DtoD" : device_to ? "memcpy HtoD" : "memcpy DtoH");
}

static void fill(void *start, int value, size_t bytes) {
    if (bytes <= COPIED_BYTES) memset(start, value, bytes);
    standin_count("memset");
}

cudaError_t CUDARTAPI cudaMalloc(void **p, size_t n) {
    *p = reserve(n);
    return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t CUDARTAPI cudaMallocAsync(void **p, size_t n, cudaStream_t s) { return cudaMalloc(p, n); }
cudaError_t CUDARTAPI cudaMallocManaged(void **p, size_t n, unsigned f) { return cudaMalloc(p, n); }
cudaError_t CUDARTAPI cudaFree(void *p) {
    if (p) release(p);
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
    *total_bytes = total;
    *free_bytes = total - used - CONTEXT_BYTES;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaHostAlloc(void **p, size_t n, unsigned f) {
    *p = aligned_alloc(PAGE, (n + PAGE - 1) & ~(PAGE - 1));
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p) {
    memset(a, 0, sizeof *a);
    a->type = is_on_device(p) ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
    a->devicePointer = (void *)p;
    a->hostPointer = is_on_device(p) ? 0 : (void *)p;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaMemset(void *d, int v, size_t n) {
    fill(d, v, n);
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaMemsetAsync(void *d, int v, size_t n, cudaStream_t s) { return cudaMemset(d, v, n); }
cudaError_t CUDARTAPI cudaFreeAsync(void *p, cudaStream_t s) { return cudaFree(p); }
cudaError_t CUDARTAPI cudaFreeHost(void *p) {
    free(p);
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaHostRegister(void *p, size_t n, unsigned f) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaHostUnregister(void *p) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaMemcpy(void *d, const void *s, size_t n, enum cudaMemcpyKind k) {
    copy(d, s, n);
    standin_sync++;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaMemcpyAsync(void *d, const void *s, size_t n, enum cudaMemcpyKind k, cudaStream_t st) {
    copy(d, s, n);
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaMemcpyPeerAsync(void *d, int a, const void *s, int b, size_t n, cudaStream_t st) {
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaMemcpyToSymbol(const void *a, const void *b, size_t n, size_t o, enum cudaMemcpyKind k) {
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGetSymbolAddress(void **p, const void *s) {
    *p = (void *)s;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaMemPoolGetAttribute(cudaMemPool_t p, enum cudaMemPoolAttr a, void *v) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaMemPoolSetAttribute(cudaMemPool_t p, enum cudaMemPoolAttr a, void *v) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaMemPoolSetAccess(cudaMemPool_t p, const struct cudaMemAccessDesc *d, size_t n) {
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaMemPoolTrimTo(cudaMemPool_t p, size_t n) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaIpcGetMemHandle(cudaIpcMemHandle_t *h, void *p) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaMemcpy2DAsync(void *d, size_t dp, const void *s, size_t sp, size_t w, size_t h,
                                        enum cudaMemcpyKind k, cudaStream_t st) {
    standin_count("memcpy2D");
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaMemset2DAsync(void *d, size_t p, int v, size_t w, size_t h, cudaStream_t s) {
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaMallocHost(void **p, size_t n) { return cudaHostAlloc(p, n, 0); }
cudaError_t CUDARTAPI cudaMemPoolCreate(cudaMemPool_t *p, const struct cudaMemPoolProps *q) {
    *p = (void *)1;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaMemPoolDestroy(cudaMemPool_t p) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaIpcGetEventHandle(cudaIpcEventHandle_t *h, cudaEvent_t e) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaIpcOpenMemHandle(void **p, cudaIpcMemHandle_t h, unsigned f) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaIpcOpenEventHandle(cudaEvent_t *e, cudaIpcEventHandle_t h) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaIpcCloseMemHandle(void *p) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaMemAdvise(const void *p, size_t n, enum cudaMemoryAdvise a, struct cudaMemLocation l) {
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaMemPrefetchAsync(const void *p, size_t n, struct cudaMemLocation l, unsigned f,
                                           cudaStream_t s) {
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaHostGetDevicePointer(void **d, void *h, unsigned f) {
    *d = h;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaHostGetFlags(unsigned *f, void *h) {
    *f = 0;
    return cudaSuccess;
}
