/* Kernels of mlst.statistics. */
#include "kernels.h"

PyMethodDef statistic_kernels[] = {
    {NULL, NULL, 0, NULL},
};
