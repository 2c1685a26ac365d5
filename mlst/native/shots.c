/* Kernels of collection.detectors. */
#include "kernels.h"

PyMethodDef shot_kernels[] = {
    {NULL, NULL, 0, NULL},
};
