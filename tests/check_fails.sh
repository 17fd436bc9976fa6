#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_fails.sh PROGRAM [ARGUMENT...]: the program must find something wrong and say so by its exit code:
# neither success nor a crash nor a program that cannot be run.
"$@"
status=$?
echo "exit code $status"
[ "$status" -ge 1 ] && [ "$status" -lt 126 ]
