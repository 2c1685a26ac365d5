/* Kernels of mlst.statistics.p910. */
#include "statistics.h"
#include <math.h>
#include <string.h>

#define LANES 8 /* sums side by side, which compilers turn into vectors */

/* The values of codes: max(lo, min(hi, code)) - lo where `lo` is not negative, else those of the table. */
typedef struct {
    int lo, hi;
    float table[256];
} Values;

static int of_bytes(const byte *table, Values *values)
{
    values->lo = 0;
    while (values->lo < 255 && table[values->lo + 1] == 0)
        values->lo++;
    values->hi = values->lo + table[255];
    for (int code = 0; code < 256; code++)
        if (values->hi > 255 || table[code] != larger(values->lo, smaller(values->hi, code)) - values->lo)
            return 0;
    return table[0] == 0;
}

static int of_singles(const float *table, Values *values)
{
    values->lo = values->hi = -1;
    for (int code = 0; code < 256; code++) {
        float value = values->table[code] = table[code];
        if (!(value >= 0 && value <= 1 << 20 && value == (float)(int)value))
            return 0;
    }
    return 1;
}

/* The table of a scale of mlst.statistics.p910: one that clips, of bytes, or integers of at most 2^20, in singles. */
static int values_of(PyObject *table, Values *values)
{
    View view;
    int bytes = view_of(table, 'B', 0, &view);
    int taken = bytes ? bytes : view_of(table, 'f', 0, &view);
    if (taken <= 0)
        return taken;
    taken = view.rows == 1 && view.depth == 1 && view.columns == 256;
    if (taken)
        taken = bytes ? of_bytes(ROW(byte, view, 0, 0), values) : of_singles(ROW(float, view, 0, 0), values);
    close_view(&view);
    return taken;
}

FAST static void clip_row(const byte *restrict codes, Py_ssize_t n, byte lo, byte hi, byte *restrict row)
{
    for (Py_ssize_t i = 0; i < n; i++)
        row[i] = larger(lo, smaller(hi, codes[i])) - lo;
}

FAST static void look_up_row(const byte *restrict codes, Py_ssize_t n, const float *restrict table, float *restrict row)
{
    for (Py_ssize_t i = 0; i < n; i++)
        row[i] = table[codes[i]];
}

typedef struct {
    uint64_t magnitudes, squares;
} Slopes;

/* Add Sobel's gradient at n places from three rows of bytes that begin one to the left: magnitudes in units of 2^-23.
   All sums of a row fit 32 bits, for at most CHUNK places; so below. */
FAST static void add_slopes(const byte *restrict a, const byte *restrict b, const byte *restrict c, Py_ssize_t n,
                            Slopes *sums)
{
    uint32_t squares = 0, wholes = 0, parts = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        short x = (a[i + 2] - a[i]) + 2 * (b[i + 2] - b[i]) + (c[i + 2] - c[i]);
        short y = (c[i] - a[i]) + 2 * (c[i + 1] - a[i + 1]) + (c[i + 2] - a[i + 2]);
        int square = x * x + y * y;
        float magnitude = sqrtf((float)square);
        int whole = (int)magnitude;
        squares += square;
        wholes += whole;
        parts += (int)((magnitude - (float)whole) * 0x1p23f);
    }
    sums->squares += squares;
    sums->magnitudes += ((uint64_t)wholes << 23) + parts;
}

/* The same of integers of at most 2^20, in singles: squares are rounded to 24 bits, magnitudes to integers. */
FAST static void add_fine_slopes(const float *restrict a, const float *restrict b, const float *restrict c,
                                 Py_ssize_t n, Slopes *sums)
{
    uint32_t upper = 0, lower = 0, magnitudes = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        float x = (a[i + 2] - a[i]) + 2 * (b[i + 2] - b[i]) + (c[i + 2] - c[i]);
        float y = (c[i] - a[i]) + 2 * (c[i + 1] - a[i + 1]) + (c[i + 2] - a[i + 2]);
        float square = x * x + y * y;
        int part = (int)(square * 0x1p-22f);
        upper += part;
        lower += (int)(square - (float)part * 0x1p22f);
        magnitudes += (int)rintf(sqrtf(square));
    }
    sums->squares += ((uint64_t)upper << 22) + lower;
    sums->magnitudes += magnitudes;
}

static Slopes slopes_of(const View *codes, Py_ssize_t k, const Values *values)
{
    Slopes sums = {0, 0};
    byte rows[3][CHUNK + 2];
    for (Py_ssize_t from = 0; from + 2 < codes->columns; from += CHUNK) {
        Py_ssize_t n = codes->columns - from - 2 < CHUNK ? codes->columns - from - 2 : CHUNK;
        for (Py_ssize_t i = 0; i < codes->rows; i++) {
            clip_row(ROW(byte, *codes, k, i) + from, n + 2, values->lo, values->hi, rows[i % 3]);
            if (i > 1)
                add_slopes(rows[(i - 2) % 3], rows[(i - 1) % 3], rows[i % 3], n, &sums);
        }
    }
    return sums;
}

static Slopes fine_slopes_of(const View *codes, Py_ssize_t k, const Values *values)
{
    Slopes sums = {0, 0};
    float rows[3][CHUNK + 2];
    for (Py_ssize_t from = 0; from + 2 < codes->columns; from += CHUNK) {
        Py_ssize_t n = codes->columns - from - 2 < CHUNK ? codes->columns - from - 2 : CHUNK;
        for (Py_ssize_t i = 0; i < codes->rows; i++) {
            look_up_row(ROW(byte, *codes, k, i) + from, n + 2, values->table, rows[i % 3]);
            if (i > 1)
                add_fine_slopes(rows[(i - 2) % 3], rows[(i - 1) % 3], rows[i % 3], n, &sums);
        }
    }
    return sums;
}

/* Which pictures of a clip are meant, from a tuple of ints: NULL without an exception where one is not there. */
static Py_ssize_t *places_of(PyObject *tuple, Py_ssize_t depth)
{
    Py_ssize_t count = PyTuple_Size(tuple);
    Py_ssize_t *places = PyMem_Malloc((count + 1) * sizeof(Py_ssize_t));
    if (!places)
        return (Py_ssize_t *)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < count; i++) {
        places[i] = PyLong_AsSsize_t(PyTuple_GetItem(tuple, i));
        if (places[i] < 0 || places[i] >= depth) {
            PyMem_Free(places);
            return NULL;
        }
    }
    return places;
}

/* What is measured of some pictures of a clip in a scale of mlst.statistics.p910. */
typedef struct {
    View codes;
    Values values;
    Py_ssize_t count, *places;
} Clip;

static int clip_of(PyObject *array, PyObject *places, PyObject *table, Clip *clip)
{
    int taken = values_of(table, &clip->values);
    if (taken > 0)
        taken = view_of(array, 'B', 0, &clip->codes);
    if (taken <= 0)
        return taken;
    clip->count = PyTuple_Size(places);
    clip->places = NULL;
    if (clip->codes.rows <= MOST / clip->codes.columns)
        clip->places = places_of(places, clip->codes.depth);
    if (!clip->places)
        close_view(&clip->codes);
    return clip->places ? 1 : PyErr_Occurred() ? -1 : 0;
}

static void close_clip(Clip *clip)
{
    close_view(&clip->codes);
    PyMem_Free(clip->places);
}

static PyObject *tuple_of_slopes(const Clip *clip)
{
    Py_ssize_t inner = (clip->codes.rows - 2) * (clip->codes.columns - 2);
    int some = clip->codes.rows > 2 && clip->codes.columns > 2;
    PyObject *found = PyTuple_New(clip->count);
    for (Py_ssize_t i = 0; found && i < clip->count; i++) {
        Slopes sums;
        Py_BEGIN_ALLOW_THREADS
        sums = (clip->values.lo < 0 ? fine_slopes_of : slopes_of)(&clip->codes, clip->places[i], &clip->values);
        Py_END_ALLOW_THREADS
        if (!put(found, i, Py_BuildValue("nKK", some ? inner : 1, sums.magnitudes, sums.squares)))
            Py_CLEAR(found);
    }
    return found;
}

/* gradients(codes, places, table, fraction_bits) -> tuple[tuple[int, int, int], ...] */
PyObject *gradients(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *array, *places, *table;
    Clip clip;
    int bits;
    if (!PyArg_ParseTuple(arguments, "OO!Oi", &array, &PyTuple_Type, &places, &table, &bits))
        return NULL;
    int taken = clip_of(array, places, table, &clip);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    PyObject *found = bits == (clip.values.lo < 0 ? 0 : 23) ? tuple_of_slopes(&clip) : Py_NewRef(Py_None);
    close_clip(&clip);
    return found;
}

typedef struct {
    int64_t sum, squares;
} Changes;

FAST static void add_clipped(const byte *restrict now, const byte *restrict before, Py_ssize_t n, byte lo, byte hi,
                             Changes *sums)
{
    int sum = 0, squares = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        short change = larger(lo, smaller(hi, now[i])) - larger(lo, smaller(hi, before[i]));
        sum += change;
        squares += change * change;
    }
    sums->sum += sum;
    sums->squares += squares;
}

/* The same of n singles, a multiple of LANES. */
FAST static void add_changes(const float *restrict now, const float *restrict before, Py_ssize_t n, Changes *sums)
{
    double sum[LANES] = {0}, squares[LANES] = {0};
    for (Py_ssize_t i = 0; i < n; i += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            double change = now[i + lane] - before[i + lane];
            sum[lane] += change;
            squares[lane] += change * change;
        }
    for (int lane = 0; lane < LANES; lane++) {
        sums->sum += (int64_t)sum[lane];
        sums->squares += (int64_t)squares[lane];
    }
}

static void clipped_changes(const Clip *clip, Changes *sums)
{
    const View *codes = &clip->codes;
    for (Py_ssize_t k = 1; k < clip->count; k++)
        for (Py_ssize_t i = 0; i < codes->rows; i++)
            for (Py_ssize_t from = 0; from < codes->columns; from += CHUNK) {
                Py_ssize_t n = codes->columns - from < CHUNK ? codes->columns - from : CHUNK;
                add_clipped(ROW(byte, *codes, clip->places[k], i) + from,
                            ROW(byte, *codes, clip->places[k - 1], i) + from, n, clip->values.lo, clip->values.hi,
                            sums + k - 1);
            }
}

/* Row by row through all pictures, so that every code is looked up once. */
static void table_changes(const Clip *clip, Changes *sums)
{
    const View *codes = &clip->codes;
    float rows[2][CHUNK + LANES] = {{0}};
    for (Py_ssize_t i = 0; i < codes->rows; i++)
        for (Py_ssize_t from = 0; from < codes->columns; from += CHUNK) {
            Py_ssize_t n = codes->columns - from < CHUNK ? codes->columns - from : CHUNK;
            for (Py_ssize_t k = 0; k < clip->count; k++) {
                float *now = rows[k % 2], *before = rows[(k + 1) % 2];
                look_up_row(ROW(byte, *codes, clip->places[k], i) + from, n, clip->values.table, now);
                memset(now + n, 0, LANES * sizeof(float));
                if (k)
                    add_changes(now, before, (n + LANES - 1) / LANES * LANES, sums + k - 1);
            }
        }
}

static PyObject *tuple_of_changes(const Clip *clip, const Changes *sums)
{
    Py_ssize_t pixels = clip->codes.rows * clip->codes.columns, pairs = clip->count > 1 ? clip->count - 1 : 0;
    PyObject *found = PyTuple_New(pairs);
    for (Py_ssize_t i = 0; found && i < pairs; i++)
        if (!put(found, i, Py_BuildValue("nLL", pixels, sums[i].sum, sums[i].squares)))
            Py_CLEAR(found);
    return found;
}

/* changes(codes, places, table) -> tuple[tuple[int, int, int], ...] */
PyObject *changes(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *array, *places, *table, *found = NULL;
    Clip clip;
    if (!PyArg_ParseTuple(arguments, "OO!O", &array, &PyTuple_Type, &places, &table))
        return NULL;
    int taken = clip_of(array, places, table, &clip);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    Changes *sums = PyMem_Calloc(clip.count + 1, sizeof(Changes));
    if (sums) {
        Py_BEGIN_ALLOW_THREADS
        (clip.values.lo < 0 ? table_changes : clipped_changes)(&clip, sums);
        Py_END_ALLOW_THREADS
        found = tuple_of_changes(&clip, sums);
    } else
        PyErr_NoMemory();
    PyMem_Free(sums);
    close_clip(&clip);
    return found;
}
