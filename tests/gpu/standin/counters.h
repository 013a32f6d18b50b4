// What the stand-in counts. Python reads it with ctypes: standin_reset, standin_dump.
#pragma once

extern long standin_launches, standin_cudnn, standin_cublas, standin_memcpy, standin_memcpy_bytes, standin_triton,
    standin_sync, standin_graph_launch;

// Counts one event of this name, such as a kernel's.
void standin_count(const char *name);
// Starts counting from zero.
void standin_reset(void);
// Writes the totals, and a line for each name, into a file.
void standin_dump(const char *path);
