/* The module `mlst.native._kernels`. Every function of it returns None for arrays that it does not take. */
#include "kernels.h"

int view_of(PyObject *array, char type, int writable, View *view)
{
    Py_buffer *buffer = &view->buffer;
    if (PyObject_GetBuffer(array, buffer, writable ? PyBUF_RECORDS : PyBUF_RECORDS_RO) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_BufferError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    int axes = buffer->ndim;
    const char *format = buffer->format ? buffer->format : "B";
    if (*format == '<' || *format == '=' || *format == '@')
        format++;
    int fits = axes >= 1 && axes <= 3 && format[0] == type && format[1] == 0;
    for (int axis = 0; fits && axis < axes; axis++)
        fits = buffer->shape[axis] > 0 && buffer->strides[axis] >= 0;
    if (!fits || buffer->strides[axes - 1] != buffer->itemsize) {
        PyBuffer_Release(buffer);
        return 0;
    }
    view->columns = buffer->shape[axes - 1];
    view->rows = axes > 1 ? buffer->shape[axes - 2] : 1;
    view->depth = axes > 2 ? buffer->shape[0] : 1;
    view->row = axes > 1 ? buffer->strides[axes - 2] : 0;
    view->plane = axes > 2 ? buffer->strides[0] : 0;
    return 1;
}

void close_view(View *view)
{
    PyBuffer_Release(&view->buffer);
}

int views_of(const char *types, PyObject **arrays, View *views)
{
    int opened = 0, taken = 1;
    for (; *types && taken > 0; types++) {
        int writable = *types == '>';
        types += writable;
        taken = view_of(arrays[opened], *types, writable, &views[opened]);
        opened += taken > 0;
    }
    while (taken <= 0 && opened)
        close_view(&views[--opened]);
    return taken;
}

void close_views(View *views, int n)
{
    while (n)
        close_view(&views[--n]);
}

static int fill(PyObject *module)
{
    PyMethodDef *rooms[] = {picture_kernels, scaling_kernels, statistic_kernels, shot_kernels};
    for (int i = 0; i < 4; i++)
        if (PyModule_AddFunctions(module, rooms[i]) < 0)
            return -1;
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0, NULL}};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_kernels", .m_doc = "See mlst.native.", .m_size = 0, .m_slots = slots};

PyMODINIT_FUNC PyInit__kernels(void)
{
    return PyModuleDef_Init(&definition);
}
