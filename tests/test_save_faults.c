/* SPDX-License-Identifier: Apache-2.0
 *
 * A save that cannot find out which file a name leads to fails, and leaves the folder as it was.
 * ctest wraps: lstat */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/temporary_folder.h"
#include <gatekern-train.h>

/* ---- lstat with faults ---- */

static int calls, failing_call; /* from 1; 0: none fails */
static bool other_numbers;      /* than fstat's, as on some file systems */

int __real_lstat(const char *path, struct stat *status);
int __wrap_lstat(const char *path, struct stat *status);

int __wrap_lstat(const char *path, struct stat *status) {
  if (++calls == failing_call) {
    errno = EIO;
    return -1;
  }
  const int failed = __real_lstat(path, status);
  if (!failed && other_numbers)
    status->st_ino ^= 1;
  return failed;
}

static int count_tensors(const char *path) {
  gk_safetensors *file;
  if (gk_safetensors_open(path, &file) != GK_OK)
    return -1;
  const int count = gk_safetensors_count(file);
  gk_safetensors_close(file);
  return count;
}

/* ---- Tests ---- */

static const float weights[4];
static const gk_file_tensor tensor = {"w", GK_DTYPE_F32, 1, {4}, weights};

static void a_lookup_that_fails_fails_the_save(void **state) {
  (void)state;
  const char *path = temporary_path("failing.safetensors");
  assert_int_equal(gk_safetensors_save(path, 0, NULL, 0, NULL), GK_OK);
  calls = 0;
  assert_int_equal(gk_safetensors_save(path, 0, NULL, 0, NULL), GK_OK);
  const int most = calls, files = count_files(temporary_folder());
  assert_true(most >= 3); /* the name, the temporary file when made, and before it is renamed */
  for (int call = 1; call <= most; ++call) {
    calls = 0;
    failing_call = call;
    const gk_status saved = gk_safetensors_save(path, 1, &tensor, 0, NULL);
    failing_call = 0;
    if (saved != GK_ERROR_IO || !strstr(gk_last_error(), strerror(EIO)))
      fail_msg("lookup %d: %s (\"%s\")", call, gk_status_name(saved), gk_last_error());
    assert_int_equal(count_tensors(path), 0);
    assert_int_equal(count_files(temporary_folder()), files);
  }
}

static void a_file_of_two_numbers_is_made_once(void **state) {
  (void)state;
  const char *path = temporary_path("numbers.safetensors");
  const int files = count_files(temporary_folder());
  other_numbers = true;
  const gk_status saved = gk_safetensors_save(path, 1, &tensor, 0, NULL);
  const gk_status could = gk_safetensors_can_save(path);
  other_numbers = false;
  assert_int_equal(saved, GK_ERROR_IO);
  assert_int_equal(could, GK_ERROR_IO);
  assert_non_null(strstr(gk_last_error(), strerror(ESTALE)));
  assert_int_equal(count_files(temporary_folder()), files);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_lookup_that_fails_fails_the_save),
      cmocka_unit_test(a_file_of_two_numbers_is_made_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
