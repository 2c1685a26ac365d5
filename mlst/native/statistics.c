/* Kernels of mlst.statistics. Floating-point numbers hold integers, or whole multiples of 2^-23, that are exact: their
   sums are the same in any order. */
#include "kernels.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 512 /* columns at a time: their sums are exact */
#define LANES 8    /* sums side by side, which compilers turn into vectors */
#define MOST (1 << 19) /* pixels of a picture; canonical ones have 960 x 540 at most */

static inline byte larger(byte a, byte b) { return a > b ? a : b; }
static inline byte smaller(byte a, byte b) { return a < b ? a : b; }

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

/* Put `item` into a tuple, which takes it over. 1 where there is an item. */
static int put(PyObject *tuple, Py_ssize_t i, PyObject *item)
{
    return item && PyTuple_SetItem(tuple, i, item) == 0;
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
static PyObject *gradients(PyObject *Py_UNUSED(module), PyObject *arguments)
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
static PyObject *changes(PyObject *Py_UNUSED(module), PyObject *arguments)
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

/* Look at an (H, W) picture of bytes. */
static int picture_of(PyObject *array, View *picture)
{
    int taken = view_of(array, 'B', 0, picture);
    if (taken > 0 && (picture->depth > 1 || picture->rows > MOST / picture->columns)) {
        close_view(picture);
        return 0;
    }
    return taken;
}

/* How often each byte occurs, in four tables: a byte that repeats does not wait for its last count to be stored. */
typedef struct {
    uint32_t parts[4][256];
} Tally;

static void count_bytes(const byte *bytes, Py_ssize_t n, Tally *tally)
{
    Py_ssize_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int part = 0; part < 4; part++)
            tally->parts[part][bytes[i + part]]++;
    for (; i < n; i++)
        tally->parts[0][bytes[i]]++;
}

static uint32_t count_of(const Tally *tally, int value)
{
    return tally->parts[0][value] + tally->parts[1][value] + tally->parts[2][value] + tally->parts[3][value];
}

static PyObject *bytes_of(const Tally *tally)
{
    int64_t counts[256];
    for (int value = 0; value < 256; value++)
        counts[value] = count_of(tally, value);
    return PyBytes_FromStringAndSize((const char *)counts, sizeof(counts));
}

static void count_codes(const View *picture, Tally *tally)
{
    for (Py_ssize_t i = 0; i < picture->rows; i++)
        count_bytes(ROW(byte, *picture, 0, i), picture->columns, tally);
}

/* Four bits of each of two codes. */
FAST static void pair_row(const byte *restrict one, const byte *restrict other, Py_ssize_t n, byte *restrict pairs)
{
    for (Py_ssize_t i = 0; i < n; i++)
        pairs[i] = (one[i] & 0xf0) | (other[i] >> 4);
}

static void count_pairs(const byte *one, const byte *other, Py_ssize_t n, Tally *tally)
{
    byte pairs[CHUNK];
    for (Py_ssize_t from = 0; from < n; from += CHUNK) {
        Py_ssize_t some = n - from < CHUNK ? n - from : CHUNK;
        pair_row(one + from, other + from, some, pairs);
        count_bytes(pairs, some, tally);
    }
}

static void count_neighbours(const View *picture, Tally *tally)
{
    for (Py_ssize_t i = 0; i < picture->rows; i++) {
        const byte *row = ROW(byte, *picture, 0, i);
        count_pairs(row, row + 1, picture->columns - 1, tally);
        if (i + 1 < picture->rows)
            count_pairs(row, ROW(byte, *picture, 0, i + 1), picture->columns, tally);
    }
}

static PyObject *tallied(PyObject *array, void (*count)(const View *, Tally *))
{
    View picture;
    Tally tally = {{{0}}};
    int taken = picture_of(array, &picture);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    Py_BEGIN_ALLOW_THREADS
    count(&picture, &tally);
    Py_END_ALLOW_THREADS
    close_view(&picture);
    return bytes_of(&tally);
}

/* tally(values) -> bytes */
static PyObject *tally(PyObject *Py_UNUSED(module), PyObject *values)
{
    return tallied(values, count_codes);
}

/* neighbours(picture) -> bytes */
static PyObject *neighbours(PyObject *Py_UNUSED(module), PyObject *picture)
{
    return tallied(picture, count_neighbours);
}

typedef struct {
    int64_t sum, squares;                   /* of the Laplacian */
    int64_t all_four, across, down, luma; /* sums of errors of prediction, and of codes */
} Curvature;

FAST static void add_laplacian(const byte *restrict a, const byte *restrict b, const byte *restrict c, Py_ssize_t n,
                               Curvature *sums)
{
    int sum = 0, squares = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        short bend = a[i + 1] + b[i] + b[i + 2] + c[i + 1] - 4 * b[i + 1];
        sum += bend;
        squares += bend * bend;
    }
    sums->sum += sum;
    sums->squares += squares;
}

FAST static void add_errors(const byte *restrict a, const byte *restrict b, const byte *restrict c, Py_ssize_t n,
                            Curvature *sums)
{
    int all_four = 0, across = 0, down = 0, luma = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        short along = b[i] + b[i + 2] - 2 * b[i + 1], upright = a[i + 1] + c[i + 1] - 2 * b[i + 1];
        short both = along + upright;
        across += along < 0 ? -along : along;
        down += upright < 0 ? -upright : upright;
        all_four += both < 0 ? -both : both;
        luma += b[i + 1];
    }
    sums->all_four += all_four;
    sums->across += across;
    sums->down += down;
    sums->luma += luma;
}

/* Sums over the inside of a picture; `add` is called with three rows that begin one to the left. */
static int curvature_of(PyObject *array, void (*add)(const byte *, const byte *, const byte *, Py_ssize_t, Curvature *),
                        Py_ssize_t *pixels, Curvature *sums)
{
    View picture;
    int taken = picture_of(array, &picture);
    if (taken <= 0)
        return taken;
    *pixels = picture.rows > 2 && picture.columns > 2 ? (picture.rows - 2) * (picture.columns - 2) : 0;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i + 2 < picture.rows; i++)
        for (Py_ssize_t from = 0; from + 2 < picture.columns; from += CHUNK) {
            Py_ssize_t n = picture.columns - from - 2 < CHUNK ? picture.columns - from - 2 : CHUNK;
            add(ROW(byte, picture, 0, i) + from, ROW(byte, picture, 0, i + 1) + from,
                ROW(byte, picture, 0, i + 2) + from, n, sums);
        }
    Py_END_ALLOW_THREADS
    close_view(&picture);
    return 1;
}

/* laplacian_sums(picture) -> tuple[int, int, int] */
static PyObject *laplacian_sums(PyObject *Py_UNUSED(module), PyObject *array)
{
    Curvature sums = {0};
    Py_ssize_t pixels;
    int taken = curvature_of(array, add_laplacian, &pixels, &sums);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    return Py_BuildValue("nLL", pixels, sums.sum, sums.squares);
}

/* prediction_errors(picture) -> tuple[int, int, int, int] */
static PyObject *prediction_errors(PyObject *Py_UNUSED(module), PyObject *array)
{
    Curvature sums = {0};
    Py_ssize_t pixels;
    int taken = curvature_of(array, add_errors, &pixels, &sums);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    return Py_BuildValue("LLLL", sums.all_four, sums.across, sums.down, sums.luma);
}

#define SIDE 8                     /* points of the transform: half the side of a block */
#define ABREAST 32                 /* blocks that are transformed side by side */
#define STRIP (2 * SIDE * ABREAST) /* their columns */

/* mlst.statistics.texture.hevc_matrix(8), and vca_weights(16) of its frequencies. */
static const float basis[SIDE][SIDE] = {
    {64, 64, 64, 64, 64, 64, 64, 64},     {89, 75, 50, 18, -18, -50, -75, -89}, {83, 36, -36, -83, -83, -36, 36, 83},
    {75, -18, -89, -50, 50, 89, 18, -75}, {64, -64, -64, 64, 64, -64, -64, 64}, {50, -89, 18, 75, -75, -18, 89, -50},
    {36, -83, 83, -36, -36, 83, -83, 36}, {18, -50, 75, -89, 89, -75, 50, -18},
};
static const int weights[SIDE][SIDE] = {
    {0, 27, 93, 93, 93, 93, 93, 93},
    {27, 93, 93, 93, 93, 94, 94, 94},
    {93, 93, 93, 94, 94, 94, 94, 94},
    {93, 93, 94, 94, 94, 94, 94, 95},
    {93, 93, 94, 94, 94, 95, 95, 96},
    {93, 94, 94, 94, 95, 95, 96, 97},
    {93, 94, 94, 94, 95, 96, 97, 98},
    {93, 94, 94, 95, 96, 97, 98, 99},
};

/* A row of STRIP codes; those that the picture lacks are as its last. */
static void pad_row(const byte *restrict codes, Py_ssize_t n, byte *restrict row)
{
    if (n > STRIP)
        n = STRIP;
    memcpy(row, codes, n);
    memset(row + n, codes[n - 1], STRIP - n);
}

/* Means of 2 x 2 codes, rounded down. */
FAST static void halve_rows(const byte *restrict upper, const byte *restrict lower, byte *restrict half)
{
    for (int i = 0; i < STRIP / 2; i++)
        half[i] = (upper[2 * i] + upper[2 * i + 1] + lower[2 * i] + lower[2 * i + 1]) >> 2;
}

/* A row of blocks, halved: places of a block are the first two axes, so that blocks lie side by side. */
typedef float Blocks[SIDE][SIDE][ABREAST];

static void take_blocks(const View *pictures, Py_ssize_t k, Py_ssize_t top, Py_ssize_t left, Blocks blocks)
{
    byte rows[2][STRIP], half[STRIP / 2];
    for (int y = 0; y < SIDE; y++) {
        for (int i = 0; i < 2; i++) {
            Py_ssize_t row = top + 2 * y + i < pictures->rows ? top + 2 * y + i : pictures->rows - 1;
            pad_row(ROW(byte, *pictures, k, row) + left, pictures->columns - left, rows[i]);
        }
        halve_rows(rows[0], rows[1], half);
        for (int x = 0; x < SIDE; x++)
            for (int i = 0; i < ABREAST; i++)
                blocks[x][y][i] = half[i * SIDE + x];
    }
}

/* Transform the first axis, shift by `bits` with halves rounded upwards, and swap the first two axes. Sums are integers
   below 2^24, exact in singles. */
FAST static void transform(Blocks blocks, int bits, Blocks found)
{
    for (int k = 0; k < SIDE; k++)
        for (int y = 0; y < SIDE; y++)
            for (int i = 0; i < ABREAST; i++) {
                float sum = 0;
                for (int x = 0; x < SIDE; x++)
                    sum += basis[k][x] * blocks[x][y][i];
                found[y][k][i] = (float)(((int)sum + (1 << (bits - 1))) >> bits);
            }
}

FAST static void weigh(Blocks coefficients, int *restrict energies)
{
    for (int i = 0; i < ABREAST; i++)
        energies[i] = 0;
    for (int k = 0; k < SIDE; k++)
        for (int y = 0; y < SIDE; y++)
            for (int i = 0; i < ABREAST; i++) {
                int size = (int)coefficients[k][y][i];
                energies[i] += (weights[k][y] * (size < 0 ? -size : size)) >> 8;
            }
}

typedef struct {
    int64_t sum, change;
} Energies;

/* Add the energies of some blocks of a picture; `before` has those of the picture before, and then these. */
static void add_energies(const int *energies, int *before, Py_ssize_t n, int changes, Energies *sums)
{
    for (Py_ssize_t i = 0; i < n; i++) {
        int energy = 2 * energies[i];
        sums->sum += energy;
        sums->change += changes ? abs(energy - before[i]) : 0;
        before[i] = energy;
    }
}

static void add_picture(const View *pictures, Py_ssize_t k, int *before, Energies *sums)
{
    Blocks blocks, found;
    int energies[ABREAST];
    for (Py_ssize_t top = 0; top < pictures->rows; top += 2 * SIDE)
        for (Py_ssize_t left = 0; left < pictures->columns; left += STRIP) {
            Py_ssize_t n = (pictures->columns - left - 1) / (2 * SIDE) + 1;
            n = n < ABREAST ? n : ABREAST;
            take_blocks(pictures, k, top, left, blocks);
            transform(blocks, 2, found);
            transform(found, 9, blocks);
            weigh(blocks, energies);
            add_energies(energies, before, n, k > 0, sums);
            before += n;
        }
}

/* energy_sums(pictures) -> tuple[int, int, int] */
static PyObject *energy_sums(PyObject *Py_UNUSED(module), PyObject *array)
{
    View pictures;
    Energies sums = {0};
    int taken = view_of(array, 'B', 0, &pictures);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    Py_ssize_t across = (pictures.columns - 1) / (2 * SIDE) + 1, down = (pictures.rows - 1) / (2 * SIDE) + 1;
    int *before = down <= MOST / across ? PyMem_Malloc(across * down * sizeof(int)) : NULL;
    if (before) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t k = 0; k < pictures.depth; k++)
            add_picture(&pictures, k, before, &sums);
        Py_END_ALLOW_THREADS
        PyMem_Free(before);
    }
    close_view(&pictures);
    return before ? Py_BuildValue("nLL", across * down, sums.sum, sums.change) : Py_NewRef(Py_None);
}

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
static PyObject *medians(PyObject *Py_UNUSED(module), PyObject *array)
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
