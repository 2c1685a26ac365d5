/* Kernels of mlst.statistics: what they share, and their table. */
#include "statistics.h"

int put(PyObject *tuple, Py_ssize_t i, PyObject *item)
{
    return item && PyTuple_SetItem(tuple, i, item) == 0;
}

int picture_of(PyObject *array, View *picture)
{
    int taken = view_of(array, 'B', 0, picture);
    if (taken > 0 && (picture->depth > 1 || picture->rows > MOST / picture->columns)) {
        close_view(picture);
        return 0;
    }
    return taken;
}

void count_bytes(const byte *bytes, Py_ssize_t n, Tally *tally)
{
    Py_ssize_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int part = 0; part < 4; part++)
            tally->parts[part][bytes[i + part]]++;
    for (; i < n; i++)
        tally->parts[0][bytes[i]]++;
}

uint32_t count_of(const Tally *tally, int value)
{
    return tally->parts[0][value] + tally->parts[1][value] + tally->parts[2][value] + tally->parts[3][value];
}

PyMethodDef statistic_kernels[] = {
    {"changes", changes, METH_VARARGS, NULL},
    {"energy_sums", energy_sums, METH_O, NULL},
    {"gradients", gradients, METH_VARARGS, NULL},
    {"laplacian_sums", laplacian_sums, METH_O, NULL},
    {"medians", medians, METH_O, NULL},
    {"neighbours", neighbours, METH_O, NULL},
    {"prediction_errors", prediction_errors, METH_O, NULL},
    {"tally", tally, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
