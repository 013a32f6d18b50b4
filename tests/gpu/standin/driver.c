// The CUDA driver's functions whose answers matter; `generate.py` adds every other one as a function that succeeds.
#define _GNU_SOURCE
#include "device.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

// Handles that are only passed around.
#define CONTEXT ((void *)16)
#define MODULE ((void *)32)

// The counters live in the runtime's library, which a program that uses the driver alone has not loaded.
static void count_launch(const char *name) {
    void (*count)(const char *) = dlsym(RTLD_DEFAULT, "standin_count");
    long *launches = dlsym(RTLD_DEFAULT, "standin_triton");
    char text[200];
    if (!count || !launches) return;
    snprintf(text, sizeof text, "T:%s", name);
    count(text);
    (*launches)++;
}

int cuDriverGetVersion(int *version) { return *version = DRIVER_VERSION, 0; }
int cuDeviceGetCount(int *count) { return *count = 1, 0; }
int cuDeviceGet(int *device, int ordinal) { return *device = 0, 0; }
int cuDeviceGetName(char *name, int bytes, int device) { return strncpy(name, DEVICE_NAME, bytes), 0; }
int cuDeviceGetUuid_v2(char *uuid, int device) { return memset(uuid, 1, 16), 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { return *bytes = DEVICE_MIB << 20, 0; }
int cuCtxGetCurrent(void **context) { return *context = CONTEXT, 0; }
int cuCtxGetDevice(int *device) { return *device = 0, 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { return *context = CONTEXT, 0; }
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { return *flags = 0, *active = 1, 0; }
int cuGetErrorString(int error, const char **text) { return *text = "an error of the stand-in", 0; }
int cuGetErrorName(int error, const char **text) { return *text = "standinError", 0; }

int cuModuleLoad(void **module, const char *file) { return *module = MODULE, 0; }
int cuModuleLoadData(void **module, const void *image) { return *module = MODULE, 0; }
int cuModuleLoadDataEx(void **module, const void *image, unsigned n, void *o, void *v) { return *module = MODULE, 0; }
int cuModuleGetFunction(void **function, void *module, const char *name) { return *function = strdup(name), 0; }
int cuFuncGetModule(void **module, void *function) { return *module = MODULE, 0; }
// 0: most threads of a block; 4: registers.
int cuFuncGetAttribute(int *value, int attribute, void *function) {
    return *value = attribute == 0 ? THREADS_PER_BLOCK : attribute == 4 ? 64 : 0, 0;
}
int cuOccupancyMaxActiveClusters(int *clusters, void *function, void *config) { return *clusters = 1, 0; }
int cuPointerGetAttribute(void *value, int attribute, unsigned long long pointer) {
    return *(unsigned long long *)value = pointer, 0;
}

int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **arguments, void **extra) {
    return count_launch(function), 0;
}
int cuLaunchKernelEx(const void *config, void *function, void **arguments, void **extra) {
    return count_launch(function), 0;
}

// The numbers are those of CUdevice_attribute.
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case 1: *value = THREADS_PER_BLOCK; break;
    case 8: *value = SHARED_PER_BLOCK; break;
    case 10: *value = WARP_SIZE; break;
    case 12: *value = REGISTERS; break;
    case 13: *value = CLOCK_KHZ; break;
    case 16: *value = MULTIPROCESSORS; break;
    case 36: *value = MEMORY_CLOCK_KHZ; break;
    case 37: *value = MEMORY_BUS_BITS; break;
    case 39: *value = THREADS_PER_MULTIPROCESSOR; break;
    case 75: *value = CAPABILITY_MAJOR; break;
    case 76: *value = CAPABILITY_MINOR; break;
    case 81: *value = SHARED_PER_MULTIPROCESSOR; break;
    case 82: *value = REGISTERS; break;
    case 97: *value = SHARED_PER_BLOCK_OPTIN; break;
    default: *value = 0;
    }
    return 0;
}

#define NOT_FOUND 500

int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long flags, int *status) {
    *function = dlsym(RTLD_DEFAULT, name);
    if (status) *status = 0;
    return *function ? 0 : NOT_FOUND;
}
int cuGetProcAddress(const char *name, void **function, int version, unsigned long flags) {
    return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
