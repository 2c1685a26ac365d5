/* Kernels of mlst.pictures.scaling. */
#include "kernels.h"

#include <stdlib.h>
#include <string.h>

/* has_avx2() -> bool: whether fill_scaled takes anything here. */
static PyObject *has_avx2(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
#if defined(__x86_64__) && defined(__GNUC__)
    return PyBool_FromLong(__builtin_cpu_supports("avx2"));
#else
    return PyBool_FromLong(0);
#endif
}

/* fill_scaled(target, plane, starts, places, weights, firsts, shares) -> int: see mlst.pictures.scaling.

   What libswscale does, in the same integers: each line is filtered to 15 bits, then lines are added up and rounded.
   Sixteen samples are made at a time, by four lanes of four. A lane takes its samples, two neighbours for each of the
   four, out of 16 bytes, and again from 2 bytes on, until every weight had its sample. Where the four lie too far apart
   for that, it does so in two or four groups. */

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define STEP 16
#define LANE 16 /* bytes */

typedef struct {
    const int32_t *starts;  /* for each pair of lanes and each group where their 16 bytes begin in a line */
    const byte *places;     /* LANE for each start: which of the bytes go where, as shuffle_epi8 has it */
    const int16_t *weights; /* for each pair of lanes `turns` times 16 */
    Py_ssize_t groups, turns;
} Lanes;

#define INLINE __attribute__((always_inline)) static inline

/* Two lanes: the sums of eight samples. */
AVX2 INLINE __m256i sums(const byte *line, const Lanes *lanes, Py_ssize_t pair, Py_ssize_t groups, Py_ssize_t turns)
{
    const int16_t *weights = lanes->weights + STEP * turns * pair;
    __m256i sum = _mm256_setzero_si256();
    for (Py_ssize_t group = groups * pair; group < groups * (pair + 1); group++) {
        const byte *one = line + lanes->starts[2 * group], *other = line + lanes->starts[2 * group + 1];
        __m256i places = _mm256_loadu_si256((const __m256i *)(lanes->places + 2 * LANE * group));
        for (Py_ssize_t k = 0; k < turns; k++) {
            __m256i low = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(one + 2 * k)));
            __m256i both = _mm256_inserti128_si256(low, _mm_loadu_si128((const __m128i *)(other + 2 * k)), 1);
            __m256i shares = _mm256_loadu_si256((const __m256i *)(weights + STEP * k));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_shuffle_epi8(both, places), shares));
        }
    }
    return _mm256_srai_epi32(sum, 7);
}

AVX2 INLINE void samples(const byte *line, const Lanes *lanes, Py_ssize_t steps, int16_t *made, Py_ssize_t groups,
                         Py_ssize_t turns)
{
    for (Py_ssize_t k = 0; k < steps; k++) {
        __m256i one = sums(line, lanes, 2 * k, groups, turns), other = sums(line, lanes, 2 * k + 1, groups, turns);
        _mm256_storeu_si256((__m256i *)(made + STEP * k), _mm256_packs_epi32(one, other));
    }
}

/* A line of bytes to `steps` times STEP numbers of 15 bits; what is frequent, without loops within a lane. */
AVX2 static void across(const byte *line, const Lanes *lanes, Py_ssize_t steps, int16_t *made)
{
    if (lanes->groups == 1 && lanes->turns == 1)
        samples(line, lanes, steps, made, 1, 1);
    else if (lanes->groups == 1 && lanes->turns == 2)
        samples(line, lanes, steps, made, 1, 2);
    else if (lanes->groups == 1 && lanes->turns == 3)
        samples(line, lanes, steps, made, 1, 3);
    else if (lanes->groups == 2 && lanes->turns == 3)
        samples(line, lanes, steps, made, 2, 3);
    else
        samples(line, lanes, steps, made, lanes->groups, lanes->turns);
}

/* An even number of lines, each with a share, to STEP bytes. */
AVX2 static inline __m128i down(int16_t *const *lines, const int16_t *shares, Py_ssize_t count, Py_ssize_t from)
{
    __m256i low = _mm256_set1_epi32(1 << 18), high = low;
    for (Py_ssize_t k = 0; k < count; k += 2) {
        __m256i one = _mm256_loadu_si256((const __m256i *)(lines[k] + from));
        __m256i other = _mm256_loadu_si256((const __m256i *)(lines[k + 1] + from));
        int32_t two;
        memcpy(&two, shares + k, sizeof two);
        __m256i both = _mm256_set1_epi32(two);
        low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_unpacklo_epi16(one, other), both));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_unpackhi_epi16(one, other), both));
    }
    __m256i codes = _mm256_packs_epi32(_mm256_srai_epi32(low, 19), _mm256_srai_epi32(high, 19));
    codes = _mm256_permute4x64_epi64(_mm256_packus_epi16(codes, codes), 0x08);
    return _mm256_castsi256_si128(codes);
}

/* `memory` has room for `count` lines of `steps` times STEP numbers, `lines` for as many addresses. */
AVX2 static void fill(View *target, View *plane, const Lanes *lanes, const int32_t *firsts, View *shares,
                      int16_t *memory, int16_t **lines)
{
    Py_ssize_t columns = target->columns, steps = (columns + STEP - 1) / STEP, count = shares->columns, done = 0;
    for (Py_ssize_t i = 0; i < target->rows; i++) {
        Py_ssize_t first = firsts[i], from = 0;
        for (done = done > first ? done : first; done < first + count && done < plane->rows; done++)
            across(ROW(byte, *plane, 0, done), lanes, steps, memory + done % count * steps * STEP);
        for (Py_ssize_t k = 0; k < count; k++) /* behind the last line shares are 0 */
            lines[k] = memory + (first + k < plane->rows ? first + k : plane->rows - 1) % count * steps * STEP;
        byte *row = ROW(byte, *target, 0, i), rest[STEP];
        for (; from + STEP <= columns; from += STEP)
            _mm_storeu_si128((__m128i *)(row + from), down(lines, ROW(int16_t, *shares, 0, i), count, from));
        if (from < columns) {
            _mm_storeu_si128((__m128i *)rest, down(lines, ROW(int16_t, *shares, 0, i), count, from));
            memcpy(row + from, rest, columns - from);
        }
    }
}

static int within(View *view, int32_t least, int32_t most)
{
    const int32_t *numbers = view->buffer.buf;
    for (Py_ssize_t k = 0; k < view->columns; k++)
        if (numbers[k] < least || numbers[k] > most)
            return 0;
    return 1;
}

/* Whether nothing outside the arrays would be read or written. */
static int safe(View *target, View *plane, View *starts, View *places, View *weights, View *firsts, View *shares)
{
    Py_ssize_t steps = (target->columns + STEP - 1) / STEP, most = plane->columns - LANE - 2 * (weights->columns / STEP - 1);
    int dense = places->row == LANE && places->columns == LANE && weights->row == 2 * weights->columns;
    int counted = starts->columns % (4 * steps) == 0 && places->rows == starts->columns && weights->rows == 2 * steps;
    int matched = firsts->columns == target->rows && shares->rows == target->rows && shares->columns % 2 == 0;
    if (!dense || !counted || !matched || weights->columns % STEP || plane->depth > 1 || target->depth > 1)
        return 0;
    const int32_t *lines = firsts->buffer.buf;
    for (Py_ssize_t i = 1; i < firsts->columns; i++)
        if (lines[i] < lines[i - 1])
            return 0;
    return within(starts, 0, most) && within(firsts, 0, plane->rows - 1);
}

/* 1 where the target was filled, 0 where the tables lead outside, -1 without memory. */
static int fill_safely(View *views)
{
    View *target = &views[0], *plane = &views[1], *weights = &views[4], *shares = &views[6];
    if (!safe(target, plane, &views[2], &views[3], weights, &views[5], shares))
        return 0;
    Py_ssize_t steps = (target->columns + STEP - 1) / STEP;
    Lanes lanes = {views[2].buffer.buf, views[3].buffer.buf, weights->buffer.buf, views[2].columns / (4 * steps),
                   weights->columns / STEP};
    int16_t *memory = malloc(shares->columns * steps * STEP * sizeof(int16_t));
    int16_t **lines = malloc(shares->columns * sizeof(int16_t *));
    int filled = memory && lines;
    if (filled) {
        Py_BEGIN_ALLOW_THREADS
        fill(target, plane, &lanes, views[5].buffer.buf, shares, memory, lines);
        Py_END_ALLOW_THREADS
    } else
        PyErr_NoMemory();
    free(memory);
    free(lines);
    return filled ? 1 : -1;
}

static PyObject *fill_scaled(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *arrays[7];
    View views[7];
    if (!PyArg_ParseTuple(arguments, "OOOOOOO", &arrays[0], &arrays[1], &arrays[2], &arrays[3], &arrays[4], &arrays[5],
                          &arrays[6]))
        return NULL;
    int taken = __builtin_cpu_supports("avx2") ? views_of(">BBiBhih", arrays, views) : 0;
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    Py_ssize_t rows = views[0].rows;
    taken = fill_safely(views);
    close_views(views, 7);
    return taken < 0 ? NULL : taken ? PyLong_FromSsize_t(rows) : Py_NewRef(Py_None);
}

#else

static PyObject *fill_scaled(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    return Py_NewRef(Py_None);
}

#endif

PyMethodDef scaling_kernels[] = {
    {"fill_scaled", fill_scaled, METH_VARARGS, NULL},
    {"has_avx2", has_avx2, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
