# SPDX-License-Identifier: Apache-2.0
#
# The objects of every tier. kernels/FOLDER/*.c is compiled twice, with Gatekern's own activations and
# with SLEEF's; the lists gatekern_tiers and gatekern_kernel_objects feed the library and its checks.
set(gatekern_tiers)
set(gatekern_kernel_objects)

function(gatekern_add_tier tier folder)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/${folder}/*.c)
  foreach(math own sleef)
    set(target gatekern-kernels-${tier}-${math})
    add_library(${target} OBJECT ${sources})
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
    target_include_directories(${target} SYSTEM PRIVATE ${SLEEF_INCLUDE_DIRS})
    target_compile_definitions(${target} PRIVATE
      GK_MATH_USE_SLEEF=$<STREQUAL:${math},sleef>
      $<$<BOOL:${GATEKERN_REORDERED_SUM}>:GK_REORDERED_SUM=1>)
    target_link_libraries(${target} PRIVATE gatekern-baseline-flags)
    target_compile_options(${target} PRIVATE ${ARGN})
  endforeach()
  set(gatekern_tiers ${gatekern_tiers} ${tier} PARENT_SCOPE)
  set(gatekern_kernel_objects ${gatekern_kernel_objects}
    $<TARGET_OBJECTS:gatekern-kernels-${tier}-own> $<TARGET_OBJECTS:gatekern-kernels-${tier}-sleef> PARENT_SCOPE)
endfunction()

# What "scalar" means when instruction sets are compared.
set(not_vectorised -fno-tree-vectorize -fno-tree-slp-vectorize)

# With prefetchw a tile asks for C as what it will write: where cores share no cache, lines that another core
# has read then need no second message. CPUs that do not list it take it for nothing.
if(GATEKERN_ARCHITECTURE STREQUAL x86)
  gatekern_add_tier(scalar scalar ${not_vectorised})
  gatekern_add_tier(scalar_fma scalar ${not_vectorised} -DGK_SCALAR_FMA=1 -mavx -mfma)
  gatekern_add_tier(avx2 avx2 -mavx2 -mfma -mprfchw)
  gatekern_add_tier(avx512 avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mprfchw
    -mprefer-vector-width=512)
else()
  # FMA is part of AArch64's baseline: there is one scalar tier, and it has it.
  gatekern_add_tier(scalar scalar ${not_vectorised})
  gatekern_add_tier(neon neon)
endif()
