# SPDX-License-Identifier: Apache-2.0
#
# libgatekern, and libgatekern-train: what needs jansson (files and tasks). Each static and shared; the shared ones
# have the same names for a project that embeds this one as for one that finds it installed.
file(GLOB train_sources CONFIGURE_DEPENDS
  src/train/checkpoint*.c src/train/safetensors*.c src/tasks/*.c)
file(GLOB core_sources CONFIGURE_DEPENDS
  dispatch/*.c src/core/*.c src/machine/*.c src/cells/*.c src/layers/*.c src/reference/*.c src/sequence/*.c
  src/train/*.c)
list(REMOVE_ITEM core_sources ${train_sources})

function(gatekern_add_objects target)
  add_library(${target} OBJECT ${ARGN})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
  target_include_directories(${target} SYSTEM PRIVATE
    ${RANDOM123_INCLUDE_DIR} ${SLEEF_INCLUDE_DIRS} ${JANSSON_INCLUDE_DIRS})
  target_link_libraries(${target} PRIVATE gatekern-baseline-flags OpenMP::OpenMP_C)
endfunction()

# While MAJOR is 0, a new MINOR may break who was built with the old one.
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(interface_version 0.${PROJECT_VERSION_MINOR})
  set(interface_compatibility SameMinorVersion)
else()
  set(interface_version ${PROJECT_VERSION_MAJOR})
  set(interface_compatibility SameMajorVersion)
endif()

function(gatekern_add_library name kind)
  string(TOLOWER ${kind} suffix)
  set(target ${name}-${suffix})
  add_library(${target} ${kind} ${ARGN})
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
  target_link_libraries(${target} PRIVATE gatekern-baseline-flags)
  set_target_properties(${target} PROPERTIES
    OUTPUT_NAME ${name} VERSION ${PROJECT_VERSION} SOVERSION ${interface_version})
  if(kind STREQUAL SHARED)
    target_link_options(${target} PRIVATE ${gatekern_link_options})
  endif()
  if(kind STREQUAL SHARED AND NOT GATEKERN_SANITIZE AND NOT APPLE)
    target_link_options(${target} PRIVATE -Wl,--no-undefined)
  endif()
  # Where nothing else holds OpenMP, dlclose would unmap it under its threads, which outlive every call.
  if(kind STREQUAL SHARED AND NOT APPLE)
    target_link_options(${target} PRIVATE -Wl,-z,nodelete)
  endif()
endfunction()

gatekern_add_objects(gatekern-core-objects ${core_sources})
gatekern_add_objects(gatekern-train-objects ${train_sources})
foreach(kind STATIC SHARED)
  string(TOLOWER ${kind} suffix)
  gatekern_add_library(gatekern ${kind} $<TARGET_OBJECTS:gatekern-core-objects> ${gatekern_kernel_objects})
  target_link_libraries(gatekern-${suffix} PRIVATE PkgConfig::SLEEF OpenMP::OpenMP_C m)
  gatekern_add_library(gatekern-train ${kind} $<TARGET_OBJECTS:gatekern-train-objects>)
  target_link_libraries(gatekern-train-${suffix} PUBLIC gatekern-${suffix} PRIVATE PkgConfig::JANSSON m)
endforeach()
add_library(gatekern::gatekern ALIAS gatekern-shared)
add_library(gatekern::gatekern-train ALIAS gatekern-train-shared)
