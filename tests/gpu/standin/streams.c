// Streams, events and graphs: handles without anything behind them. A graph that is captured computes nothing either.
#include "counters.h"

#include <cuda_runtime_api.h>
#include <stdint.h>
#include <string.h>

static cudaStream_t captured_stream;
static int capturing;

static void *new_handle(void) {
    static uintptr_t last = 0x1000;
    return (void *)(last += 16);
}

static enum cudaStreamCaptureStatus capture_status(cudaStream_t s) {
    return capturing && s == captured_stream ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
}

cudaError_t CUDARTAPI cudaStreamCreate(cudaStream_t *s) {
    *s = new_handle();
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamCreateWithPriority(cudaStream_t *s, unsigned f, int p) {
    *s = new_handle();
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamDestroy(cudaStream_t s) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaStreamQuery(cudaStream_t s) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaStreamSynchronize(cudaStream_t s) {
    standin_sync++;
    standin_count("streamSynchronize");
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned f) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaStreamGetPriority(cudaStream_t s, int *p) {
    *p = 0;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamAddCallback(cudaStream_t s, cudaStreamCallback_t c, void *u, unsigned f) {
    c(s, cudaSuccess, u);
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaLaunchHostFunc(cudaStream_t s, cudaHostFn_t f, void *u) {
    f(u);
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode m) {
    capturing = 1;
    captured_stream = s;
    standin_count("beginCapture");
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g) {
    capturing = 0;
    *g = new_handle();
    standin_count("endCapture");
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *st) {
    *st = capture_status(s);
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamGetCaptureInfo(cudaStream_t s, enum cudaStreamCaptureStatus *st, unsigned long long *id,
                                               cudaGraph_t *g, const cudaGraphNode_t **d, const cudaGraphEdgeData **e,
                                               size_t *n) {
    *st = capture_status(s);
    if (id) *id = 1;
    if (g) *g = 0;
    if (d) *d = 0;
    if (e) *e = 0;
    if (n) *n = 0;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *m) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaGraphInstantiateWithFlags(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long f) {
    *x = new_handle();
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGraphDestroy(cudaGraph_t g) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaGraphExecDestroy(cudaGraphExec_t g) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s) {
    standin_graph_launch++;
    standin_count("graphLaunch");
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGraphGetNodes(cudaGraph_t g, cudaGraphNode_t *n, size_t *c) {
    *c = 1;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGraphNodeGetDependencies(cudaGraphNode_t n, cudaGraphNode_t *d, cudaGraphEdgeData *e,
                                                   size_t *c) {
    *c = 0;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGraphDebugDotPrint(cudaGraph_t g, const char *p, unsigned f) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaEventCreate(cudaEvent_t *e) {
    *e = new_handle();
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaEventCreateWithFlags(cudaEvent_t *e, unsigned f) {
    *e = new_handle();
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaEventDestroy(cudaEvent_t e) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaEventQuery(cudaEvent_t e) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaEventRecord(cudaEvent_t e, cudaStream_t s) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned f) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaEventSynchronize(cudaEvent_t e) {
    standin_sync++;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b) {
    *ms = 1.0f;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamGetId(cudaStream_t s, unsigned long long *i) {
    *i = (uintptr_t)s;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamCreateWithFlags(cudaStream_t *s, unsigned f) {
    *s = new_handle();
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGraphCreate(cudaGraph_t *g, unsigned f) {
    *g = new_handle();
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long f) {
    *x = new_handle();
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGraphUpload(cudaGraphExec_t x, cudaStream_t s) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaUserObjectCreate(cudaUserObject_t *o, void *p, cudaHostFn_t d, unsigned n, unsigned f) {
    *o = (void *)1;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGraphRetainUserObject(cudaGraph_t g, cudaUserObject_t o, unsigned c, unsigned f) {
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamUpdateCaptureDependencies(cudaStream_t s, cudaGraphNode_t *d,
                                                          const cudaGraphEdgeData *e, size_t n, unsigned f) {
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaEventRecord_ptsz(cudaEvent_t e, cudaStream_t s) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaStreamGetDevice(cudaStream_t s, int *d) {
    *d = 0;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamGetFlags(cudaStream_t s, unsigned *f) {
    *f = 0;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamGetAttribute(cudaStream_t s, cudaStreamAttrID a, cudaStreamAttrValue *v) {
    memset(v, 0, sizeof *v);
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamSetAttribute(cudaStream_t s, cudaStreamAttrID a, const cudaStreamAttrValue *v) {
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaEventCreateFromEGLSync(cudaEvent_t *e, void *x, unsigned f) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaStreamIsCapturing_ptsz(cudaStream_t s, enum cudaStreamCaptureStatus *st) {
    *st = 0;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamGetCaptureInfo_v3(cudaStream_t s, enum cudaStreamCaptureStatus *st,
                                                  unsigned long long *id, cudaGraph_t *g, const cudaGraphNode_t **d,
                                                  const cudaGraphEdgeData **e, size_t *n) {
    return cudaStreamGetCaptureInfo(s, st, id, g, d, e, n);
}
cudaError_t CUDARTAPI cudaStreamGetCaptureInfo_v2(cudaStream_t s, enum cudaStreamCaptureStatus *st,
                                                  unsigned long long *id, cudaGraph_t *g, const cudaGraphNode_t **d,
                                                  size_t *n) {
    return cudaStreamGetCaptureInfo(s, st, id, g, d, 0, n);
}
