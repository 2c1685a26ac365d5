/* What the kernels share: views of NumPy's arrays, and the compiler's flags per function. */
#ifndef MLST_KERNELS_H
#define MLST_KERNELS_H

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

/* A second version of a function for CPUs with AVX2, chosen when the module is loaded. Without it gcc and clang compile
   for the oldest x86-64. AVX2 alone does not allow fused multiply-adds, which would round differently. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define FAST __attribute__((target_clones("avx2", "default")))
#else
#define FAST
#endif

/* An array of one to three axes whose last one is dense. `depth` is 1 where there are fewer than three. */
typedef struct {
    Py_buffer buffer;
    Py_ssize_t depth, rows, columns;
    Py_ssize_t plane; /* bytes from one picture to the next */
    Py_ssize_t row;   /* bytes from one row to the next */
} View;

/* Look at an array of `type`: a letter of the module `struct`. 1 when it can be worked on, 0 when it is of another type
   or shape, which is the business of NumPy, and -1 with an exception set. A view of which this is 1 is to be closed. */
int view_of(PyObject *array, char type, int writable, View *view);
void close_view(View *view);

/* The same of as many arrays as there are letters, all of them or none; a '>' stands before the type of one that is
   written to. */
int views_of(const char *types, PyObject **arrays, View *views);
void close_views(View *views, int n);

#define ROW(type, view, k, i) ((type *)((char *)(view).buffer.buf + (k) * (view).plane + (i) * (view).row))

typedef uint8_t byte;

static inline byte larger(byte a, byte b) { return a > b ? a : b; }
static inline byte smaller(byte a, byte b) { return a < b ? a : b; }

extern PyMethodDef picture_kernels[], scaling_kernels[], statistic_kernels[], shot_kernels[];

#endif
