// cuDNN's graph interface: remembers what a convolution was built from, so that it can be counted with its shapes.
#include "counters.h"

#include <cuda_runtime_api.h>
#include <cudnn_graph.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A descriptor: what it is, what it links to, and of tensors the shape.
typedef struct D {
    int type;
    struct D *links[8];
    int nl;
    int64_t dims[8];
    int64_t strides[8];
    int nd;
    int dt;
    int finalized;
} D;
cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t t, cudnnBackendDescriptor_t *d) {
    D *x = calloc(1, sizeof(D) + 64);
    x->type = t;
    *d = (void *)x;
    return 0;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d) { return 0; }
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t d) { return 0; }
cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t d_, cudnnBackendAttributeName_t n,
                                       cudnnBackendAttributeType_t t, int64_t c, const void *a) {
    D *d = (D *)d_;
    if (t == CUDNN_TYPE_BACKEND_DESCRIPTOR && a) {
        for (int i = 0; i < c && d->nl < 8; i++) d->links[d->nl++] = ((D **)a)[i];
    }
    if (n == CUDNN_ATTR_TENSOR_DIMENSIONS) {
        d->nd = c;
        memcpy(d->dims, a, 8 * (c > 8 ? 8 : c));
    }
    if (n == CUDNN_ATTR_TENSOR_STRIDES) {
        memcpy(d->strides, a, 8 * (c > 8 ? 8 : c));
    }
    if (n == CUDNN_ATTR_TENSOR_DATA_TYPE) d->dt = *(int *)a;
    return 0;
}
cudnnStatus_t cudnnBackendGetAttribute(const cudnnBackendDescriptor_t d_, cudnnBackendAttributeName_t n,
                                       cudnnBackendAttributeType_t t, int64_t req, int64_t *cnt, void *a) {
    D *d = (D *)d_;
    switch (n) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
        if (cnt) *cnt = 1;
        if (a) {
            ((D **)a)[0]->links[0] = d->links[0];
            ((D **)a)[0]->nl = 1;
        }
        return 0;
    case CUDNN_ATTR_ENGINECFG_ENGINE:
        if (cnt) *cnt = 1;
        return 0;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
    case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
        if (cnt) *cnt = 1;
        if (a) *(int64_t *)a = 0;
        return 0;
    case CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT:
        if (cnt) *cnt = 1;
        if (a) *(int64_t *)a = 1;
        return 0;
    default:
        if (cnt) *cnt = 0;
        return 0;
    }
}
static D *find(D *d, int type, int depth) {
    if (!d || depth > 6) return 0;
    if (d->type == type) return d;
    for (int i = 0; i < d->nl; i++) {
        D *r = find(d->links[i], type, depth + 1);
        if (r) return r;
    }
    return 0;
}
cudnnStatus_t cudnnBackendExecute(cudnnHandle_t h, cudnnBackendDescriptor_t p_, cudnnBackendDescriptor_t v) {
    D *p = (D *)p_;
    standin_cudnn++;
    const char *k = "conv";
    D *o;
    if ((o = find(p, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, 0)))
        k = "cudnn8 fprop";
    else if ((o = find(p, CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, 0)))
        k = "cudnn8 dgrad";
    else if ((o = find(p, CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, 0)))
        k = "cudnn8 wgrad";
    char b[200];
    int m = snprintf(b, 200, "%s", k);
    if (o)
        for (int i = 0; i < o->nl; i++) {
            D *x = o->links[i];
            if (x->nd == 4)
                m += snprintf(b + m, 200 - m, " [%ld %ld %ld %ld|%s dt%d]", x->dims[0], x->dims[1], x->dims[2],
                              x->dims[3], x->strides[1] == 1 ? "nhwc" : "nchw", x->dt);
        }
    standin_count(b);
    return 0;
}
