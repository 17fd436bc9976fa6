# SPDX-License-Identifier: Apache-2.0
"""Structures of include/gatekern.h for ctypes, read from the header itself, so that they cannot fall behind it."""

import ctypes
import re
from functools import cache
from pathlib import Path

HEADER = Path(__file__).resolve().parent.parent.parent / "include/gatekern.h"
TYPES = {"size_t": ctypes.c_size_t, "int64_t": ctypes.c_int64, "int32_t": ctypes.c_int32, "uint64_t": ctypes.c_uint64,
         "uint32_t": ctypes.c_uint32, "int": ctypes.c_int, "unsigned": ctypes.c_uint, "float": ctypes.c_float,
         "double": ctypes.c_double, "bool": ctypes.c_bool, "char": ctypes.c_char}


@cache
def text():
    return re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)


def type_of(name):
    if name in TYPES:
        return TYPES[name]
    return ctypes.c_int if re.search(rf"typedef enum {name}\b", text()) else structure(name)


def constant(count):
    return int(count) if count.isdigit() else int(re.search(rf"\b{count} = (\d+)", text()).group(1))


def fields(declaration):
    """const float *h0, *c0 -> [(h0, pointer), (c0, pointer)]; char name[64] -> [(name, array)]."""
    base, declarators = re.fullmatch(r"(?:const\s+)?(\w+)\s*(.*)", declaration.strip(), re.S).groups()
    for declarator in declarators.split(","):
        pointer, name, count = re.fullmatch(r"\s*((?:\*|const\s)*)\s*(\w+)(?:\[(\w+)\])?\s*", declarator).groups()
        kind = ctypes.c_void_p if pointer else type_of(base)
        yield name, kind * constant(count) if count else kind


@cache
def structure(name):
    body = re.search(rf"typedef struct {name} {{(.*?)}} {name};", text(), re.S)
    if not body:
        raise KeyError(f"{HEADER} has no struct {name}")
    declarations = [d for d in body.group(1).split(";") if d.strip()]
    return type(name, (ctypes.Structure,), {"_fields_": [f for d in declarations for f in fields(d)]})
