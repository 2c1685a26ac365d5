/* What kernels of mlst.statistics share. Numbers in floating point hold integers, or whole multiples of 2^-23, that are
   exact: their sums are the same in any order. */
#ifndef MLST_STATISTICS_H
#define MLST_STATISTICS_H

#include "kernels.h"

#define CHUNK 512      /* columns at a time: their sums fit 32 bits */
#define MOST (1 << 19) /* pixels of a picture; canonical ones have 960 x 540 at most */

/* Put `item` into a tuple, which takes it over. 1 where there is an item. */
int put(PyObject *tuple, Py_ssize_t i, PyObject *item);

/* Look at an (H, W) picture of bytes, as view_of does. */
int picture_of(PyObject *array, View *picture);

/* How often each byte occurs, in four tables: a byte that repeats does not wait for its last count to be stored. */
typedef struct {
    uint32_t parts[4][256];
} Tally;

void count_bytes(const byte *bytes, Py_ssize_t n, Tally *tally);
uint32_t count_of(const Tally *tally, int value);

PyObject *changes(PyObject *module, PyObject *arguments);
PyObject *energy_sums(PyObject *module, PyObject *arguments);
PyObject *gradients(PyObject *module, PyObject *arguments);
PyObject *laplacian_sums(PyObject *module, PyObject *arguments);
PyObject *medians(PyObject *module, PyObject *arguments);
PyObject *neighbours(PyObject *module, PyObject *arguments);
PyObject *prediction_errors(PyObject *module, PyObject *arguments);
PyObject *tally(PyObject *module, PyObject *arguments);

#endif
