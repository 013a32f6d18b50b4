// cuDNN's graph interface: remembers what a convolution was built from, so that it can be counted with its shapes.
#include "counters.h"

#include <cuda_runtime_api.h>
#include <cudnn_graph.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_LINKS 8
#define MOST_DIMS 8
#define DEEPEST 6 // links from a plan to its operation

// A descriptor: what it is, what it links to, and of tensors the shape and type.
typedef struct descriptor {
    int type;
    struct descriptor *links[MOST_LINKS];
    int used_links;
    int64_t dims[MOST_DIMS], strides[MOST_DIMS];
    int rank;
    int data_type;
} descriptor;

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *created) {
    descriptor *d = calloc(1, sizeof(descriptor));
    d->type = type;
    *created = (void *)d;
    return 0;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d) { return 0; } // others may link to it
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t d) { return 0; }

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t opaque, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void *values) {
    descriptor *d = (descriptor *)opaque;
    int64_t bytes = 8 * (count > MOST_DIMS ? MOST_DIMS : count);
    if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR && values)
        for (int i = 0; i < count && d->used_links < MOST_LINKS; i++)
            d->links[d->used_links++] = ((descriptor **)values)[i];
    if (name == CUDNN_ATTR_TENSOR_DIMENSIONS) {
        d->rank = count;
        memcpy(d->dims, values, bytes);
    }
    if (name == CUDNN_ATTR_TENSOR_STRIDES) memcpy(d->strides, values, bytes);
    if (name == CUDNN_ATTR_TENSOR_DATA_TYPE) d->data_type = *(int *)values;
    return 0;
}

// The heuristics find one engine, the first, which needs no workspace; its configuration links to the graph.
cudnnStatus_t cudnnBackendGetAttribute(const cudnnBackendDescriptor_t opaque, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t asked, int64_t *count, void *values) {
    descriptor *d = (descriptor *)opaque;
    int64_t found = 1;
    switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
        if (values) {
            descriptor *configuration = ((descriptor **)values)[0];
            configuration->links[0] = d->links[0];
            configuration->used_links = 1;
        }
        break;
    case CUDNN_ATTR_ENGINECFG_ENGINE: break;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
    case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
        if (values) *(int64_t *)values = 0;
        break;
    case CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT:
        if (values) *(int64_t *)values = 1;
        break;
    default: found = 0;
    }
    if (count) *count = found;
    return 0;
}

static descriptor *find(descriptor *d, int type, int depth) {
    if (!d || depth > DEEPEST) return 0;
    if (d->type == type) return d;
    for (int i = 0; i < d->used_links; i++) {
        descriptor *found = find(d->links[i], type, depth + 1);
        if (found) return found;
    }
    return 0;
}

static const struct {
    int type;
    const char *name;
} operations[] = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, "cudnn8 fprop"},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, "cudnn8 dgrad"},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, "cudnn8 wgrad"},
};

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack) {
    char text[200] = "conv";
    descriptor *operation = 0;
    int used = strlen(text);
    for (int i = 0; i < 3 && !operation; i++)
        if ((operation = find((descriptor *)plan, operations[i].type, 0)))
            used = snprintf(text, sizeof text, "%s", operations[i].name);
    for (int i = 0; operation && i < operation->used_links; i++) {
        descriptor *t = operation->links[i];
        const char *layout = t->strides[1] == 1 ? "nhwc" : "nchw";
        if (t->rank == 4 && used < (int)sizeof text)
            used += snprintf(text + used, sizeof text - used, " [%ld %ld %ld %ld|%s dt%d]", t->dims[0], t->dims[1],
                             t->dims[2], t->dims[3], layout, t->data_type);
    }
    standin_cudnn++;
    standin_count(text);
    return 0;
}
