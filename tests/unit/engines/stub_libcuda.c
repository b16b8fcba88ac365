/* A libcuda.so.1 that behaves as the macros say; compiled by the test of the probe. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifndef INIT
#define INIT 0
#endif
#ifndef FIRST_GIB
#define FIRST_GIB 24
#endif
#ifndef COUNT
#define COUNT 0
#endif
int cuInit(unsigned flags) {
#ifdef CRASH
    abort();
#endif
#ifdef HANG
    sleep(60);
#endif
    return INIT;
}
int cuDriverGetVersion(int *v) { *v = 13000; return 0; }
int cuDeviceGetCount(int *n) { *n = COUNT; return 0; }
int cuDeviceGet(int *d, int i) { *d = 40 + i; return 0; }
int cuDeviceTotalMem_v2(size_t *b, int d) { *b = (size_t)(d == 40 ? FIRST_GIB : 24) << 30; return 0; }
int cuDeviceGetAttribute(int *v, int a, int d) {
#ifdef FAIL_ATTRIBUTE
    return 1;
#endif
    *v = a == 75 ? 8 : 9;
    return 0;
}
#ifndef NO_NAME
int cuDeviceGetName(char *name, int n, int d) {
#ifdef GARBAGE_NAME
    memset(name, 0xff, n);
#else
    strncpy(name, d == 40 ? "NVIDIA L4" : "NVIDIA L40S", n);
#endif
    return 0;
}
#endif
