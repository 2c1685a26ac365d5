/* Kernels of collection.detectors. */
#include "kernels.h"
#include <math.h>
#include <stdlib.h>

#define HEIGHT 36 /* of a thumb's luma; chroma and the luma of summaries have half of each */
#define WIDTH 64
#define PIXELS (HEIGHT * WIDTH / 4) /* of the luma of a summary */
#define SUMMARY (HEIGHT * WIDTH * 3 / 8)
#define GREY 128
#define MEAN 7 /* side of the square whose mean is taken from a pixel */
#define REACH (MEAN / 2)
#define STRONGEST 63 /* edges are clipped at this */
#define BINS 32
#define LAGS 6 /* 1, 2, 4 ... 32 frames */
#define MEASURES 16 /* at each */
#define EDGE_FLOOR 0.25
#define NOISE 4.0
#define CLEAR 81.0
#define LONG 65536 /* columns up to which sums of one row fit in 32 bits */

static int is_shaped(const View *view, Py_ssize_t rows, Py_ssize_t columns)
{
    return view->depth == 1 && view->rows == rows && view->columns == columns;
}

/* Two planes of one shape, for kernels of two planes: as `view_of`. */
static int two_planes(PyObject *arguments, View *planes)
{
    PyObject *arrays[2];
    if (!PyArg_ParseTuple(arguments, "OO", &arrays[0], &arrays[1]))
        return -1;
    int taken = views_of("BB", arrays, planes);
    if (taken <= 0)
        return taken;
    if (is_shaped(&planes[0], planes[1].rows, planes[1].columns) && planes[1].depth == 1 && planes[0].columns <= LONG)
        return 1;
    close_views(planes, 2);
    return 0;
}

FAST static uint32_t differing_row(const byte *restrict a, const byte *restrict b, Py_ssize_t n)
{
    uint32_t sum = 0;
    for (Py_ssize_t i = 0; i < n; i++)
        sum += a[i] > b[i] ? a[i] - b[i] : b[i] - a[i];
    return sum;
}

/* differing(a, b) -> int */
static PyObject *differing(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    View planes[2];
    int taken = two_planes(arguments, planes);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    long long sum = 0;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < planes[0].rows; i++)
        sum += differing_row(ROW(byte, planes[0], 0, i), ROW(byte, planes[1], 0, i), planes[0].columns);
    Py_END_ALLOW_THREADS
    close_views(planes, 2);
    return PyLong_FromLongLong(sum);
}

/* apart_in_histogram(a, b) -> int */
static PyObject *apart_in_histogram(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    View planes[2];
    int taken = two_planes(arguments, planes);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    long long more[2][BINS] = {{0}}, sum = 0; /* two, as one counter waits for itself where neighbours are alike */
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < planes[0].rows; i++) {
        const byte *a = ROW(byte, planes[0], 0, i), *b = ROW(byte, planes[1], 0, i);
        for (Py_ssize_t j = 0; j < planes[0].columns; j++) {
            more[j & 1][a[j] / (256 / BINS)]++;
            more[j & 1][b[j] / (256 / BINS)]--;
        }
    }
    for (int bin = 0; bin < BINS; bin++)
        sum += llabs(more[0][bin] + more[1][bin]);
    Py_END_ALLOW_THREADS
    close_views(planes, 2);
    return PyLong_FromLongLong(sum);
}

FAST static void extremes_row(const byte *row, Py_ssize_t n, byte *least, byte *most)
{
    byte low = *least, high = *most;
    for (Py_ssize_t i = 0; i < n; i++) {
        low = row[i] < low ? row[i] : low;
        high = row[i] > high ? row[i] : high;
    }
    *least = low;
    *most = high;
}

/* extremes(plane) -> (int, int) */
static PyObject *extremes(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *array;
    View plane;
    if (!PyArg_ParseTuple(arguments, "O", &array))
        return NULL;
    int taken = view_of(array, 'B', 0, &plane);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    byte least = 255, most = 0;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t k = 0; k < plane.depth; k++)
        for (Py_ssize_t i = 0; i < plane.rows; i++)
            extremes_row(ROW(byte, plane, k, i), plane.columns, &least, &most);
    Py_END_ALLOW_THREADS
    close_view(&plane);
    return Py_BuildValue("ii", least, most);
}

/* Means of 2x2 pixels, rounded as OpenCV does: half up. */
FAST static void halve_row(const byte *restrict above, const byte *restrict below, int n, int8_t *restrict means)
{
    for (int i = 0; i < n; i++)
        means[i] = (above[2 * i] + above[2 * i + 1] + below[2 * i] + below[2 * i + 1] + 2) / 4 - GREY;
}

FAST static int32_t product(const int8_t *restrict a, const int8_t *restrict b, Py_ssize_t n)
{
    int32_t sum = 0;
    for (Py_ssize_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* summarise(y, u, v, row) -> int */
static PyObject *summarise(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *arrays[4];
    View views[4];
    if (!PyArg_ParseTuple(arguments, "OOOO", &arrays[0], &arrays[1], &arrays[2], &arrays[3]))
        return NULL;
    int taken = views_of("BBB>b", arrays, views);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    if (!is_shaped(&views[0], HEIGHT, WIDTH) || !is_shaped(&views[1], HEIGHT / 2, WIDTH / 2) ||
        !is_shaped(&views[2], HEIGHT / 2, WIDTH / 2) || !is_shaped(&views[3], 1, SUMMARY)) {
        close_views(views, 4);
        return Py_NewRef(Py_None);
    }
    int8_t *row = ROW(int8_t, views[3], 0, 0), *at = row;
    for (int p = 0; p < 3; p++)
        for (int i = 0; i < views[p].rows; i += 2, at += views[p].columns / 2)
            halve_row(ROW(byte, views[p], 0, i), ROW(byte, views[p], 0, i + 1), views[p].columns / 2, at);
    long squares = product(row, row, at - row);
    close_views(views, 4);
    return PyLong_FromLong(squares);
}

static inline int mirrored(int at, int size) { return at < 0 ? -at : at < size ? at : 2 * size - 2 - at; }

/* Of each pixel of a row, 49 times it less the sum of the square around it, divided by 49. `sums` are those of the
   square's columns, with REACH more on either side. No halves: 49 is odd. Within 16 bits: as much as would be clipped
   is cut off first. The factor divides numbers below 43690 by 49. */
FAST static void edge_row(const byte *restrict row, const uint16_t *restrict sums, int8_t *restrict edges)
{
    enum { AREA = MEAN * MEAN, MOST = AREA * STRONGEST + AREA / 2 };
    for (int j = 0; j < WIDTH; j++) {
        uint16_t sum = 0;
        for (int k = 0; k < MEAN; k++)
            sum += sums[j + k];
        int16_t more = AREA * row[j] - sum; /* -12495..12495 */
        more = more > MOST ? MOST : more < -MOST ? -MOST : more;
        uint16_t raised = more + MOST;
        edges[j] = (uint16_t)(((uint32_t)raised * 42800) >> 16) / 32 - STRONGEST;
    }
}

FAST static void sum_columns(const byte *rows[MEAN], uint16_t *restrict sums)
{
    for (int j = 0; j < WIDTH; j++) {
        uint16_t sum = 0;
        for (int k = 0; k < MEAN; k++)
            sum += rows[k][j];
        sums[REACH + j] = sum;
    }
    for (int k = 1; k <= REACH; k++) {
        sums[REACH - k] = sums[REACH + k];
        sums[REACH + WIDTH - 1 + k] = sums[REACH + WIDTH - 1 - k];
    }
}

/* find_edges(luma, row) -> bool */
static PyObject *find_edges(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *arrays[2];
    View views[2];
    if (!PyArg_ParseTuple(arguments, "OO", &arrays[0], &arrays[1]))
        return NULL;
    int taken = views_of("B>b", arrays, views);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    int fits = is_shaped(&views[0], HEIGHT, WIDTH) && is_shaped(&views[1], 1, HEIGHT * WIDTH);
    int8_t *edges = ROW(int8_t, views[1], 0, 0);
    uint16_t sums[WIDTH + 2 * REACH];
    for (int i = 0; fits && i < HEIGHT; i++) {
        const byte *rows[MEAN];
        for (int k = 0; k < MEAN; k++)
            rows[k] = ROW(byte, views[0], 0, mirrored(i + k - REACH, HEIGHT));
        sum_columns(rows, sums);
        edge_row(rows[REACH], sums, edges + i * WIDTH);
    }
    close_views(views, 2);
    return Py_NewRef(fits ? Py_True : Py_None);
}

/* Whether n numbers are places among so many rows. */
static int are_places(const View *numbers, Py_ssize_t rows)
{
    const long *places = ROW(long, *numbers, 0, 0);
    if (numbers->buffer.itemsize != sizeof *places)
        return 0;
    for (Py_ssize_t i = 0; i < numbers->columns; i++)
        if (places[i] < 0 || places[i] >= rows)
            return 0;
    return 1;
}

/* multiply(rows, some, others, products) -> bool */
static PyObject *multiply(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *arrays[4];
    View views[4];
    if (!PyArg_ParseTuple(arguments, "OOOO", &arrays[0], &arrays[1], &arrays[2], &arrays[3]))
        return NULL;
    int taken = views_of("bll>d", arrays, views);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    Py_ssize_t n = views[3].columns, length = views[0].columns;
    int fits = views[0].depth == 1 && length <= LONG && is_shaped(&views[1], 1, n) && is_shaped(&views[2], 1, n) &&
               is_shaped(&views[3], 1, n) && are_places(&views[1], views[0].rows) &&
               are_places(&views[2], views[0].rows);
    const long *some = ROW(long, views[1], 0, 0), *others = ROW(long, views[2], 0, 0);
    double *products = ROW(double, views[3], 0, 0);
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; fits && i < n; i++)
        products[i] = product(ROW(int8_t, views[0], 0, some[i]), ROW(int8_t, views[0], 0, others[i]), length);
    Py_END_ALLOW_THREADS
    close_views(views, 4);
    return Py_NewRef(fits ? Py_True : Py_None);
}

/* What is summed over the pixels of three pictures, in bytes. The last of a row of seams is none. */
typedef struct {
    byte across[PIXELS], nearer[PIXELS], resolved[PIXELS], seams[PIXELS], turned[PIXELS];
} Pixels;

static inline byte apart(int8_t a, int8_t b) { return a > b ? a - b : b - a; }

FAST static void compare(const int8_t *restrict old, const int8_t *restrict mid, const int8_t *restrict new,
                         Pixels *restrict pixels)
{
    for (int i = 0; i < PIXELS; i++) {
        byte across = apart(new[i], old[i]), before = apart(mid[i], old[i]), after = apart(new[i], mid[i]);
        byte nearer = after < before ? after : before, five = nearer > 51 ? 255 : nearer * 5;
        pixels->across[i] = across;
        pixels->nearer[i] = nearer;
        pixels->resolved[i] = five < across ? across : 0;
        pixels->turned[i] = after < before ? 255 : 0;
    }
    for (int i = 0; i + 1 < PIXELS; i++) {
        byte less = pixels->across[i] < pixels->across[i + 1] ? pixels->across[i] : pixels->across[i + 1];
        pixels->seams[i] = (pixels->turned[i] ^ pixels->turned[i + 1]) & less;
    }
    for (int i = 1; i <= HEIGHT / 2; i++)
        pixels->seams[i * WIDTH / 2 - 1] = 0;
}

typedef struct {
    double across, nearer, resolved, seams, squares, step;
} Sums;

FAST static Sums add_up(const Pixels *restrict pixels, const int8_t *restrict old, const int8_t *restrict new)
{
    uint32_t across = 0, nearer = 0, resolved = 0, seams = 0, squares = 0;
    int32_t step = 0;
    for (int i = 0; i < PIXELS; i++)
        across += pixels->across[i];
    for (int i = 0; i < PIXELS; i++)
        nearer += pixels->nearer[i];
    for (int i = 0; i < PIXELS; i++)
        resolved += pixels->resolved[i];
    for (int i = 0; i < PIXELS; i++)
        seams += pixels->seams[i];
    for (int i = 0; i < PIXELS; i++)
        squares += pixels->across[i] * pixels->across[i];
    for (int i = 0; i < PIXELS; i++)
        step += new[i] - old[i];
    return (Sums){across, nearer, resolved, seams, squares, step};
}

/* collection.detectors.traces: _of_edges, with the same operations in the same order. */
static void of_edges(double old, double mid, double new, double before, double after, double across, double *ratios)
{
    const double flat = EDGE_FLOOR * HEIGHT * WIDTH;
    double determinant = old * new - across * across + flat * flat;
    double a = (before * new - after * across) / determinant, b = (after * old - before * across) / determinant;
    ratios[0] = (across + flat) / (sqrt(old * new) + flat);
    ratios[1] = (before + flat) / (sqrt(old * mid) + flat);
    ratios[2] = (after + flat) / (sqrt(mid * new) + flat);
    ratios[3] = (2 * mid - old - new) / (2 * mid + old + new + flat);
    ratios[4] = (new - old) / (new + old + flat);
    ratios[5] = (a * before + b * after) / (mid + flat);
    ratios[6] = a;
    ratios[7] = b;
}

/* Mean square difference of two summaries, by way of its root as the plain function has it. */
static double squared(const int8_t *a, const int8_t *b, double squares)
{
    double root = sqrt((squares - 2.0 * product(a, b, SUMMARY)) / SUMMARY);
    return root * root;
}

static void of_pictures(double before, double after, double across, double *ratios)
{
    double total = before + after + across + NOISE;
    ratios[0] = across / (across + CLEAR);
    ratios[1] = (before - after) / total;
    ratios[2] = (before + after) / total;
}

static void of_pixels(const int8_t *old, const int8_t *mid, const int8_t *new, double *ratios)
{
    Pixels pixels;
    compare(old, mid, new, &pixels);
    Sums sums = add_up(&pixels, old, new);
    double total = sums.across + PIXELS;
    ratios[0] = sums.nearer / total;
    ratios[1] = sums.resolved / total;
    ratios[2] = sums.seams / total;
    ratios[3] = sums.across * sums.across / ((sums.squares + PIXELS) * PIXELS);
    ratios[4] = fabs(sums.step) / total;
}

/* What is measured of frame `at` and those `lag` before and behind it, the `k`-th lag. Views of products, rows and
   squares. */
static void measure_lag(View *kept, long at, long lag, int k, long last, double *ratios)
{
    Py_ssize_t n = kept[0].rows, mid = at % n, far = (at + lag) % n, near = at < lag ? 0 : (at - lag) % n;
    Py_ssize_t behind = (last < at + lag ? last : at + lag) % n;
    const double *of_mid = ROW(double, kept[0], 0, mid), *of_far = ROW(double, kept[0], 0, far);
    of_edges(ROW(double, kept[0], 0, near)[0], of_mid[0], of_far[0], of_mid[k + 1], of_far[k + 1], of_far[k + 2],
             ratios);
    const int8_t *old = ROW(int8_t, kept[1], 0, near), *now = ROW(int8_t, kept[1], 0, mid);
    const int8_t *new = ROW(int8_t, kept[1], 0, behind);
    const double *squares = ROW(double, kept[2], 0, 0);
    of_pictures(squared(old, now, squares[near] + squares[mid]), squared(now, new, squares[mid] + squares[behind]),
                squared(old, new, squares[near] + squares[behind]), ratios + 8);
    of_pixels(old, now, new, ratios + 11);
    for (int i = 0; i < MEASURES; i++) {
        double most = ratios[i] < -2 ? -2 : ratios[i] > 2 ? 2 : ratios[i];
        ratios[i] = rint(most * 64) / 64;
    }
}

/* measure(frames, last, products, rows, squares, ratios) -> bool */
static PyObject *measure(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *arrays[5];
    View views[5];
    long last;
    if (!PyArg_ParseTuple(arguments, "OlOOOO", &arrays[0], &last, &arrays[1], &arrays[2], &arrays[3], &arrays[4]))
        return NULL;
    int taken = views_of("ldbd>d", arrays, views);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    Py_ssize_t n = views[0].columns, kept = views[1].rows;
    int fits = is_shaped(&views[0], 1, n) && last >= 0 && last < INT32_MAX - 64 && are_places(&views[0], last + 1) &&
               is_shaped(&views[1], kept, LAGS + 2) && is_shaped(&views[2], kept, SUMMARY) &&
               is_shaped(&views[3], 1, kept) && is_shaped(&views[4], n, MEASURES * LAGS);
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; fits && i < n; i++)
        for (int k = 0; k < LAGS; k++)
            measure_lag(views + 1, ROW(long, views[0], 0, 0)[i], 1L << k, k, last,
                        ROW(double, views[4], 0, i) + k * MEASURES);
    Py_END_ALLOW_THREADS
    close_views(views, 5);
    return Py_NewRef(fits ? Py_True : Py_None);
}

PyMethodDef shot_kernels[] = {
    {"differing", differing, METH_VARARGS, NULL},
    {"apart_in_histogram", apart_in_histogram, METH_VARARGS, NULL},
    {"extremes", extremes, METH_VARARGS, NULL},
    {"summarise", summarise, METH_VARARGS, NULL},
    {"find_edges", find_edges, METH_VARARGS, NULL},
    {"measure", measure, METH_VARARGS, NULL},
    {"multiply", multiply, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
