/* SPDX-License-Identifier: Apache-2.0
 *
 * check_unload LIBRARY: a program that uses OpenMP for nothing else may close the library after a call on two
 * threads, and open it again. OpenMP's threads outlive the call: if its code were unmapped with the library,
 * they would crash the process. Linked with neither, so that nothing but the library holds OpenMP. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "include/gatekern.h"

enum { COUNT = 1 << 20, CYCLES = 5 };
static float ones[COUNT];

int main(int count, char **arguments) {
  if (count != 2)
    return fputs("usage: check_unload LIBRARY\n", stderr), 2;
  for (int i = 0; i < COUNT; i++)
    ones[i] = 1;
  for (int cycle = 0; cycle < CYCLES; cycle++) {
    void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (!library)
      return fprintf(stderr, "%s\n", dlerror()), 1;
    gk_status (*gradient_norm)(gk_isa, int, int, const float *const *, const int64_t *, double *);
    *(void **)&gradient_norm = dlsym(library, "gk_gradient_norm");
    const float *tensor = ones;
    const int64_t size = COUNT;
    double norm = 0;
    if (!gradient_norm || gradient_norm(GK_ISA_AUTO, 2, 1, &tensor, &size, &norm) != GK_OK || norm != 1024)
      return fprintf(stderr, "cycle %d: the norm of %d ones is %g\n", cycle, COUNT, norm), 1;
    if (dlclose(library) != 0)
      return fprintf(stderr, "%s\n", dlerror()), 1;
    /* What a thread that spins would crash in. */
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
  }
  printf("%d times opened, called on two threads, closed\n", CYCLES);
}
