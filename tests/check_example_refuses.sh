#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_example_refuses.sh EXAMPLE: a name that an example does not know, alone or after one that it knows, is named
# beside those that there are, with exit status 2 and before anything is trained.
set -eu
example=$1
for arguments in foo "lstm foo"; do
  status=0
  said=$("$example" $arguments 2>&1) || status=$?
  case "$status $said" in
    "2 foo: no such "*"; rnn, gru, "*lstm*) ;;
    *) echo "$example $arguments: exit status $status: $said"; exit 1 ;;
  esac
  [ "$(echo "$said" | wc -l)" -eq 1 ] || { echo "$example $arguments: more than one line: $said"; exit 1; }
done
