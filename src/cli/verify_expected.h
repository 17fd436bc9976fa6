/* SPDX-License-Identifier: Apache-2.0 */
/* What `gatekern verify` must compute on every machine. It changes only when a result is meant to change or
 * when cases are added; say which in the commit. */
#ifndef GATEKERN_CLI_VERIFY_EXPECTED_H
#define GATEKERN_CLI_VERIFY_EXPECTED_H

#define VERIFY_DEFAULT_SEED 1
#define VERIFY_EXPECTED     UINT64_C(0xa8d8b463dd83a0a1)

#endif
