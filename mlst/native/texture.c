/* Kernels of mlst.statistics.texture, and the histogram. */
#include "statistics.h"
#include <stdlib.h>
#include <string.h>

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
PyObject *tally(PyObject *Py_UNUSED(module), PyObject *values)
{
    return tallied(values, count_codes);
}

/* neighbours(picture) -> bytes */
PyObject *neighbours(PyObject *Py_UNUSED(module), PyObject *picture)
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
PyObject *laplacian_sums(PyObject *Py_UNUSED(module), PyObject *array)
{
    Curvature sums = {0};
    Py_ssize_t pixels;
    int taken = curvature_of(array, add_laplacian, &pixels, &sums);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    return Py_BuildValue("nLL", pixels, sums.sum, sums.squares);
}

/* prediction_errors(picture) -> tuple[int, int, int, int] */
PyObject *prediction_errors(PyObject *Py_UNUSED(module), PyObject *array)
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
PyObject *energy_sums(PyObject *Py_UNUSED(module), PyObject *array)
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
