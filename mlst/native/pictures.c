/* Kernels of mlst.pictures. */
#include "kernels.h"
#include <string.h>

#define CHUNK 4096 /* columns whose answers lie in a buffer */

static inline byte less(byte a, byte b) { return a > b ? a - b : 0; }
static inline byte apart(byte a, byte b) { return a > b ? a - b : b - a; }

/* Whether each of n pixels is combed: see mlst.pictures.frames.combed. Bytes alone, 32 at a time. */
FAST static void comb_row(const byte *restrict a2, const byte *restrict a, const byte *restrict h,
                          const byte *restrict b, const byte *restrict b2, Py_ssize_t n, byte least,
                          byte *restrict combed)
{
    for (Py_ssize_t i = 0; i < n; i++) {
        byte lower = smaller(less(smaller(a2[i], h[i]), a[i]), less(smaller(h[i], b2[i]), b[i]));
        byte higher = smaller(less(a[i], larger(a2[i], h[i])), less(b[i], larger(h[i], b2[i])));
        byte contrast = larger(lower, higher);
        byte field = larger(apart(a2[i], h[i]), apart(b2[i], h[i]));
        byte twice = field > 127 ? 255 : field + field;
        combed[i] = (contrast > least) & (contrast >= twice);
    }
}

FAST static long count_pairs(const byte *combed, Py_ssize_t n)
{
    long found = 0;
    for (Py_ssize_t i = 1; i < n;) {
        byte some = 0; /* of at most 255 */
        for (Py_ssize_t end = i + 255 < n ? i + 255 : n; i < end; i++)
            some += combed[i] & combed[i - 1];
        found += some;
    }
    return found;
}

/* combed(y, every, least) -> int */
static PyObject *combed(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *array;
    int every, least;
    View y;
    byte buffer[CHUNK];
    if (!PyArg_ParseTuple(arguments, "Oii", &array, &every, &least))
        return NULL;
    int taken = view_of(array, 'B', 0, &y);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    long found = 0;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i + 4 < y.rows; i += every)
        for (Py_ssize_t from = 0; from + 1 < y.columns; from += CHUNK - 1) {
            Py_ssize_t n = y.columns - from < CHUNK ? y.columns - from : CHUNK;
            comb_row(ROW(byte, y, 0, i) + from, ROW(byte, y, 0, i + 1) + from, ROW(byte, y, 0, i + 2) + from,
                     ROW(byte, y, 0, i + 3) + from, ROW(byte, y, 0, i + 4) + from, n, least, buffer);
            found += count_pairs(buffer, n);
        }
    Py_END_ALLOW_THREADS
    close_view(&y);
    return PyLong_FromLong(found);
}

FAST static long outside_row(const byte *row, Py_ssize_t n, byte lo, byte hi)
{
    long found = 0;
    for (Py_ssize_t i = 0; i < n;) {
        byte some = 0; /* of at most 255 */
        for (Py_ssize_t end = i + 255 < n ? i + 255 : n; i < end; i++)
            some += (row[i] < lo) | (row[i] > hi);
        found += some;
    }
    return found;
}

/* outside(codes, lo, hi) -> int */
static PyObject *outside(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *array;
    int lo, hi;
    View codes;
    if (!PyArg_ParseTuple(arguments, "Oii", &array, &lo, &hi))
        return NULL;
    int taken = view_of(array, 'B', 0, &codes);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    long found = 0;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t k = 0; k < codes.depth; k++)
        for (Py_ssize_t i = 0; i < codes.rows; i++)
            found += outside_row(ROW(byte, codes, k, i), codes.columns, lo, hi);
    Py_END_ALLOW_THREADS
    close_view(&codes);
    return PyLong_FromLong(found);
}

FAST static void also(const byte *restrict row, Py_ssize_t n, byte *restrict any)
{
    for (Py_ssize_t i = 0; i < n; i++)
        any[i] |= row[i];
}

FAST static long count_ones(const byte *row, Py_ssize_t n)
{
    long found = 0;
    for (Py_ssize_t i = 0; i < n;) {
        byte some = 0; /* of at most 255 */
        for (Py_ssize_t end = i + 255 < n ? i + 255 : n; i < end; i++)
            some += row[i];
        found += some;
    }
    return found;
}

FAST static void without(const byte *restrict row, Py_ssize_t n, byte *restrict from)
{
    for (Py_ssize_t i = 0; i < n; i++)
        from[i] &= row[i] ^ 1;
}

/* Of the columns how many are lit in rows [at, to) and not in [from, at). */
static long count_begun(const View *lit, Py_ssize_t from, Py_ssize_t at, Py_ssize_t to)
{
    byte before[CHUNK], soon[CHUNK];
    long found = 0;
    for (Py_ssize_t left = 0; left < lit->columns; left += CHUNK) {
        Py_ssize_t n = lit->columns - left < CHUNK ? lit->columns - left : CHUNK;
        memset(before, 0, n);
        memset(soon, 0, n);
        for (Py_ssize_t i = from; i < at; i++)
            also(ROW(byte, *lit, 0, i) + left, n, before);
        for (Py_ssize_t i = at; i < to; i++)
            also(ROW(byte, *lit, 0, i) + left, n, soon);
        without(before, n, soon);
        found += count_ones(soon, n);
    }
    return found;
}

/* beginning(lit, most, soft, gap) -> (int, int) */
static PyObject *beginning(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *array;
    View lit;
    long most, soft, gap, row = 0, columns = 0;
    if (!PyArg_ParseTuple(arguments, "Olll", &array, &most, &soft, &gap))
        return NULL;
    int taken = view_of(array, '?', 0, &lit);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    int fits = lit.depth == 1 && soft > 0 && soft <= lit.rows && gap > 0;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 1; fits && i <= lit.rows - soft; i++) {
        if (count_ones(ROW(byte, lit, 0, i - 1), lit.columns) > most)
            break;
        long begun = count_begun(&lit, i > gap ? i - gap : 0, i, i + soft);
        if (begun > columns) {
            columns = begun;
            row = i;
        }
    }
    Py_END_ALLOW_THREADS
    close_view(&lit);
    return fits ? Py_BuildValue("ll", row, columns) : Py_NewRef(Py_None);
}

PyMethodDef picture_kernels[] = {
    {"beginning", beginning, METH_VARARGS, NULL},
    {"combed", combed, METH_VARARGS, NULL},
    {"outside", outside, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
