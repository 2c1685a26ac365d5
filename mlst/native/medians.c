/* The kernel of mlst.statistics.motion: medians. */
#include "statistics.h"
#include <string.h>

/* Unsigned integers in the order of the numbers; 0 where one of them is not a number, which has no place. */
FAST static int keys_of_singles(const float *restrict values, Py_ssize_t n, uint64_t *restrict keys)
{
    int strange = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof(bits));
        strange |= (bits & 0x7fffffff) > 0x7f800000;
        keys[i] = (uint64_t)(bits ^ (bits >> 31 ? 0xffffffff : 0x80000000)) << 32;
    }
    return !strange;
}

FAST static int keys_of_doubles(const double *restrict values, Py_ssize_t n, uint64_t *restrict keys)
{
    int strange = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        uint64_t bits;
        memcpy(&bits, values + i, sizeof(bits));
        strange |= (bits & 0x7fffffffffffffff) > 0x7ff0000000000000;
        keys[i] = bits ^ (bits >> 63 ? 0xffffffffffffffff : 0x8000000000000000);
    }
    return !strange;
}

static double single_of(uint64_t key)
{
    float value;
    uint32_t bits = key >> 32;
    bits ^= bits >> 31 ? 0x80000000 : 0xffffffff;
    memcpy(&value, &bits, sizeof(bits));
    return value;
}

static double double_of(uint64_t key)
{
    double value;
    key ^= key >> 63 ? 0x8000000000000000 : 0xffffffffffffffff;
    memcpy(&value, &key, sizeof(key));
    return value;
}

FAST static void digit_row(const uint64_t *restrict keys, Py_ssize_t n, int shift, byte *restrict digits)
{
    for (Py_ssize_t i = 0; i < n; i++)
        digits[i] = (byte)(keys[i] >> shift);
}

static void count_digits(const uint64_t *keys, Py_ssize_t n, int shift, Tally *tally)
{
    byte digits[CHUNK];
    for (Py_ssize_t from = 0; from < n; from += CHUNK) {
        Py_ssize_t some = n - from < CHUNK ? n - from : CHUNK;
        digit_row(keys + from, some, shift, digits);
        count_bytes(digits, some, tally);
    }
}

/* Leave the keys with a certain digit: how many they are. */
static Py_ssize_t keep(uint64_t *keys, Py_ssize_t n, int shift, byte digit)
{
    Py_ssize_t kept = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        uint64_t key = keys[i];
        keys[kept] = key;
        kept += (byte)(key >> shift) == digit;
    }
    return kept;
}

/* The least of the keys with a higher digit. */
static uint64_t least_above(const uint64_t *keys, Py_ssize_t n, int shift, byte digit)
{
    uint64_t least = UINT64_MAX;
    for (Py_ssize_t i = 0; i < n; i++)
        least = (byte)(keys[i] >> shift) > digit && keys[i] < least ? keys[i] : least;
    return least;
}

/* The key of a rank, 0 for the least, and the one after it; `keys` are lost. Digits are bytes: from the highest on, keys
   with another digit than that of the key sought are left out. */
static void keys_at(uint64_t *keys, Py_ssize_t n, Py_ssize_t rank, uint64_t *at, uint64_t *after)
{
    *after = UINT64_MAX;
    for (int shift = 56; shift >= 0 && n > 1; shift -= 8) {
        Tally tally = {{{0}}};
        int digit = 0;
        count_digits(keys, n, shift, &tally);
        for (; rank >= count_of(&tally, digit); digit++)
            rank -= count_of(&tally, digit);
        if (rank + 1 == count_of(&tally, digit) && rank + 1 < n) {
            uint64_t least = least_above(keys, n, shift, digit);
            *after = least < *after ? least : *after;
        }
        n = keep(keys, n, shift, digit);
    }
    *at = keys[0];
    if (rank + 1 < n)
        *after = *at;
}

/* The median of a row, rounded as NumPy does: 0 where it is not defined. */
static int median_of(const View *values, Py_ssize_t i, int singles, uint64_t *keys, double *median)
{
    Py_ssize_t n = values->columns;
    uint64_t lower, upper;
    if (!(singles ? keys_of_singles(ROW(float, *values, 0, i), n, keys)
                  : keys_of_doubles(ROW(double, *values, 0, i), n, keys)))
        return 0;
    keys_at(keys, n, (n - 1) / 2, &lower, &upper);
    if (n % 2)
        upper = lower;
    if (singles) {
        float sum = (float)single_of(lower) + (float)single_of(upper);
        *median = sum / 2;
    } else
        *median = (double_of(lower) + double_of(upper)) / 2;
    return 1;
}

static PyObject *tuple_of_medians(const View *values, int singles, uint64_t *room)
{
    PyObject *found = PyTuple_New(values->rows);
    for (Py_ssize_t i = 0; found && i < values->rows; i++) {
        double median;
        int defined;
        Py_BEGIN_ALLOW_THREADS
        defined = median_of(values, i, singles, room, &median);
        Py_END_ALLOW_THREADS
        if (!defined) {
            Py_DECREF(found);
            return Py_NewRef(Py_None);
        }
        if (!put(found, i, PyFloat_FromDouble(median)))
            Py_CLEAR(found);
    }
    return found;
}

/* medians(values) -> tuple[float, ...] */
PyObject *medians(PyObject *Py_UNUSED(module), PyObject *array)
{
    View values;
    int singles = view_of(array, 'f', 0, &values);
    int taken = singles ? singles : view_of(array, 'd', 0, &values);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    uint64_t *room = NULL;
    if (values.buffer.ndim == 2 && values.columns < INT32_MAX)
        room = PyMem_Malloc(values.columns * sizeof(uint64_t));
    PyObject *found = room ? tuple_of_medians(&values, singles, room) : Py_NewRef(Py_None);
    PyMem_Free(room);
    close_view(&values);
    return found;
}
