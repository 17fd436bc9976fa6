# SPDX-License-Identifier: Apache-2.0
#
# tests/test_NAME.c is one cmocka program and the test NAME. A line "ctest labels: A B" in its first
# comment gives it labels: "edges" are repeated by foreign builds (clang, AArch64), "same-bits" must fail
# in the reordered build. A line "ctest wraps: NAME" puts its __wrap_NAME in the place of a function of the library.
set(GATEKERN_TEST_PREFIX "" CACHE STRING "Put before the name of every test, e.g. clang.")
set(GATEKERN_TEST_LABEL "" CACHE STRING "Build and register only the test programs with this label")
# A guard against hangs: tests take less than 60 s each, but on a busy machine.
set(GATEKERN_TEST_TIMEOUT 600 CACHE STRING "Seconds after which a test is killed")
set(GATEKERN_TEST_BUILDS "" CACHE STRING "Other build folders whose tests run with this one's")
set(GATEKERN_PEERS_PYTHON "" CACHE FILEPATH "A Python with PyTorch and ONNX Runtime, to compare with them")
option(GATEKERN_TEST_FULL "Long forms of the tests: all floats, long sweeps, clang-tidy" OFF)

pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
set(tests_dir ${PROJECT_SOURCE_DIR}/tests)

# What the test programs and scripts find in their environment. Tests ask for more threads than there are CPUs,
# and several run at once: who waits must not spin. Where they ask for too much memory they get none, as of malloc.
set(test_environment
  OMP_WAIT_POLICY=passive
  GATEKERN_PROGRAM=$<TARGET_FILE:gatekern-program> GATEKERN_LIBRARY=$<TARGET_FILE:gatekern-shared>
  $<$<BOOL:${GATEKERN_TEST_FULL}>:GATEKERN_TEST_FULL=1>)
if(GATEKERN_SANITIZE MATCHES address)
  list(APPEND test_environment ASAN_OPTIONS=allocator_may_return_null=1)
elseif(GATEKERN_SANITIZE STREQUAL thread)
  # Archer, which comes with LLVM's OpenMP, tells ThreadSanitizer what OpenMP orders; what is not compiled with
  # the sanitizer cannot be judged. Without Archer every parallel region would be a race.
  get_filename_component(openmp_folder "${OpenMP_omp_LIBRARY}" REALPATH)
  get_filename_component(openmp_folder "${openmp_folder}" DIRECTORY)
  find_library(ARCHER NAMES libarcher.so archer HINTS ${openmp_folder} REQUIRED)
  list(APPEND test_environment
    OMP_TOOL_LIBRARIES=${ARCHER} "TSAN_OPTIONS=ignore_noninstrumented_modules=1:halt_on_error=1:allocator_may_return_null=1")
endif()

function(gatekern_add_test name)
  set(test ${GATEKERN_TEST_PREFIX}${name})
  add_test(NAME ${test} COMMAND ${ARGN} WORKING_DIRECTORY ${PROJECT_BINARY_DIR})
  set_tests_properties(${test} PROPERTIES
    TIMEOUT ${GATEKERN_TEST_TIMEOUT} ENVIRONMENT "${test_environment}")
endfunction()

# ---- Programs ------------------------------------------------------------------------------------

# What several tests share is every other .c file of tests/.
file(GLOB support_sources CONFIGURE_DEPENDS ${tests_dir}/*.c)
list(FILTER support_sources EXCLUDE REGEX "/(test|check)_[^/]*$")
file(GLOB test_sources CONFIGURE_DEPENDS ${tests_dir}/test_*.c)

add_library(gatekern-test-flags INTERFACE)
target_include_directories(gatekern-test-flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_include_directories(gatekern-test-flags SYSTEM INTERFACE ${RANDOM123_INCLUDE_DIR} ${JANSSON_INCLUDE_DIRS})
if(GATEKERN_ARCHITECTURE STREQUAL aarch64 AND CMAKE_C_COMPILER_ID STREQUAL GNU AND
   CMAKE_C_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 for AArch64 crashes in vect_transform_reduction on a test's sum.
  target_compile_options(gatekern-test-flags INTERFACE -fno-tree-vectorize)
endif()
target_compile_definitions(gatekern-test-flags INTERFACE
  GATEKERN_PROGRAM="$<TARGET_FILE:gatekern-program>" GATEKERN_TESTS_DIR="${tests_dir}")
target_link_libraries(gatekern-test-flags INTERFACE
  gatekern-project-flags gatekern-train-static PkgConfig::CMOCKA PkgConfig::JANSSON PkgConfig::SLEEF
  OpenMP::OpenMP_C m)
if(support_sources)
  add_library(gatekern-test-support OBJECT ${support_sources})
  target_link_libraries(gatekern-test-support PRIVATE gatekern-test-flags)
endif()

foreach(source IN LISTS test_sources)
  get_filename_component(target ${source} NAME_WE)
  string(REGEX REPLACE "^test_" "" name ${target})
  file(STRINGS ${source} line REGEX "ctest labels:" LIMIT_COUNT 1)
  string(REGEX REPLACE ".*ctest labels: *" "" labels "${line}")
  string(REGEX MATCHALL "[a-z-]+" labels "${labels}")
  file(STRINGS ${source} cut REGEX " ctest( labels:| wraps:)?$" LIMIT_COUNT 1)
  if(cut) # by the formatter
    message(FATAL_ERROR "${source}: what follows \"ctest\" must stand on its line: ${cut}")
  endif()
  if(GATEKERN_TEST_LABEL AND NOT GATEKERN_TEST_LABEL IN_LIST labels)
    continue()
  endif()
  add_executable(${target} ${source})
  target_link_libraries(${target} PRIVATE
    gatekern-test-flags $<$<TARGET_EXISTS:gatekern-test-support>:gatekern-test-support>)
  file(STRINGS ${source} line REGEX "ctest wraps:" LIMIT_COUNT 1)
  if(line)
    string(REGEX REPLACE ".*ctest wraps: *([a-z_]+).*" "\\1" wrapped "${line}")
    target_link_options(${target} PRIVATE LINKER:--wrap=${wrapped})
  endif()
  file(STRINGS ${source} runs_program REGEX "GATEKERN_PROGRAM" LIMIT_COUNT 1)
  if(runs_program)
    add_dependencies(${target} gatekern-program)
  endif()
  if(GATEKERN_REORDERED_SUM)
    gatekern_add_test(${name}-fails sh ${tests_dir}/check_fails.sh $<TARGET_FILE:${target}>)
    continue()
  endif()
  gatekern_add_test(${name} ${target})
  set_tests_properties(${GATEKERN_TEST_PREFIX}${name} PROPERTIES LABELS "${labels}")
endforeach()

if(GATEKERN_REORDERED_SUM)
  gatekern_add_test(verify-fails sh ${tests_dir}/check_fails.sh $<TARGET_FILE:gatekern-program> verify)
else()
  gatekern_add_test(verify gatekern-program verify)
  # Fewer threads than asked for: by a limit, and by OpenMP's own choice, which follows the load.
  if(NOT CMAKE_CROSSCOMPILING)
    foreach(variable OMP_THREAD_LIMIT=2 OMP_DYNAMIC=true)
      string(REGEX REPLACE "=.*" "" name ${variable})
      gatekern_add_test(verify.${name} gatekern-program verify)
      set_property(TEST ${GATEKERN_TEST_PREFIX}verify.${name} APPEND PROPERTY ENVIRONMENT ${variable})
    endforeach()
  endif()
endif()

# ---- Examples ------------------------------------------------------------------------------------

if(NOT GATEKERN_TEST_LABEL)
  file(GLOB example_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/*.c)
  foreach(source IN LISTS example_sources)
    get_filename_component(name ${source} NAME_WE)
    add_executable(example-${name} ${source})
    target_link_libraries(example-${name} PRIVATE gatekern-shared)
    if(GATEKERN_SANITIZE)
      target_link_libraries(example-${name} PRIVATE gatekern-project-flags)
    endif()
    # What ends with a verdict on what it has learned is a test.
    file(STRINGS ${source} verdict REGEX "^  return right < " LIMIT_COUNT 1)
    if(verdict AND NOT GATEKERN_SANITIZE) # which would take minutes
      gatekern_add_test(example.${name} example-${name})
    endif()
    file(STRINGS ${source} takes_names REGEX "^int main\\(int argc" LIMIT_COUNT 1)
    if(takes_names)
      gatekern_add_test(example.${name}-refuses sh ${tests_dir}/check_example_refuses.sh $<TARGET_FILE:example-${name}>)
    endif()
  endforeach()
  gatekern_add_test(readme sh ${tests_dir}/check_readme.sh ${PROJECT_SOURCE_DIR} $<TARGET_FILE:example-train_lstm>)
  # The README's program leaves its memory to the process that ends.
  set_property(TEST ${GATEKERN_TEST_PREFIX}readme APPEND PROPERTY ENVIRONMENT ASAN_OPTIONS=detect_leaks=0)
endif()

# ---- The binaries --------------------------------------------------------------------------------

# Objects by what they may contain, one path a line, for the scripts below.
function(gatekern_object_list name)
  file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/generated/${name}.txt CONTENT "$<JOIN:${ARGN},\n>\n")
endfunction()

if(NOT GATEKERN_TEST_LABEL AND NOT GATEKERN_SANITIZE)
  gatekern_object_list(baseline_objects
    $<TARGET_OBJECTS:gatekern-core-objects> $<TARGET_OBJECTS:gatekern-train-objects> $<TARGET_OBJECTS:gatekern-program>
    $<TARGET_OBJECTS:gatekern-kernels-scalar-own> $<TARGET_OBJECTS:gatekern-kernels-scalar-sleef>)
  set(tables)
  foreach(tier IN LISTS gatekern_tiers)
    foreach(math own sleef)
      gatekern_object_list(${tier}_${math}_objects $<TARGET_OBJECTS:gatekern-kernels-${tier}-${math}>)
      list(APPEND tables ${tier}_${math})
    endforeach()
  endforeach()

  gatekern_add_test(binary.kernel-objects sh ${tests_dir}/check_kernel_objects.sh generated ${tables})
  gatekern_add_test(binary.exports sh ${tests_dir}/check_exports.sh
    ${PROJECT_SOURCE_DIR}/include/gatekern.h $<TARGET_FILE:gatekern-shared>
    ${PROJECT_SOURCE_DIR}/include/gatekern-train.h $<TARGET_FILE:gatekern-train-shared>)
  add_executable(check_unload ${tests_dir}/check_unload.c)
  target_include_directories(check_unload PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(check_unload PRIVATE gatekern-project-flags ${CMAKE_DL_LIBS})
  add_dependencies(check_unload gatekern-shared)
  gatekern_add_test(binary.unload check_unload $<TARGET_FILE:gatekern-shared>)
  # Threads that slept would not notice that their code is gone.
  set_property(TEST ${GATEKERN_TEST_PREFIX}binary.unload APPEND PROPERTY ENVIRONMENT OMP_WAIT_POLICY=active)
  if(GATEKERN_BUILD_BENCH) # where there is a C++ compiler
    gatekern_add_test(install sh ${tests_dir}/check_install.sh
      ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR} ${CMAKE_COMMAND})
  endif()
  if(NOT CMAKE_CROSSCOMPILING)
    gatekern_add_test(embed sh ${tests_dir}/check_embed.sh ${PROJECT_SOURCE_DIR} ${CMAKE_COMMAND} ${CMAKE_C_COMPILER})
  endif()
  if(GATEKERN_ARCHITECTURE STREQUAL x86)
    gatekern_add_test(binary.baseline sh ${tests_dir}/check_baseline.sh generated/baseline_objects.txt)
    # The check itself is checked: it must find every tier's instructions.
    foreach(tier scalar_fma avx2 avx512)
      gatekern_add_test(binary.baseline-rejects-${tier} sh ${tests_dir}/check_baseline.sh --must-fail
        generated/${tier}_own_objects.txt)
    endforeach()
    find_program(QEMU_X86_64 qemu-x86_64)
    if(QEMU_X86_64)
      gatekern_add_test(binary.cpu-without-avx sh ${tests_dir}/check_cpu_without_avx.sh
        ${QEMU_X86_64} $<TARGET_FILE:gatekern-program>)
    else()
      message(WARNING "No qemu-x86_64: the program is not run as a CPU without AVX")
    endif()
  endif()
endif()

# Instructions an element of every kernel. The bounds are GCC 12's: other compilers' code has other counts.
if(NOT GATEKERN_SANITIZE AND NOT GATEKERN_REORDERED_SUM AND CMAKE_BUILD_TYPE STREQUAL Release AND
   CMAKE_C_COMPILER_ID STREQUAL GNU AND CMAKE_C_COMPILER_VERSION MATCHES "^12\\.")
  file(GLOB kernel_benchmarks CONFIGURE_DEPENDS bench/kernel*.c)
  add_executable(check_instruction_counts ${tests_dir}/check_instruction_counts.c ${kernel_benchmarks})
  target_link_libraries(check_instruction_counts PRIVATE gatekern-test-flags)
  function(count_instructions name counter)
    gatekern_add_test(${name} sh ${tests_dir}/check_instruction_counts.sh ${counter}
      $<TARGET_FILE:check_instruction_counts> ${tests_dir}/check_instruction_counts.txt ${ARGN})
    set_tests_properties(${GATEKERN_TEST_PREFIX}${name} PROPERTIES SKIP_RETURN_CODE 77)
  endfunction()
  if(GATEKERN_ARCHITECTURE STREQUAL x86 AND NOT GATEKERN_TEST_LABEL)
    find_program(INSTRUCTION_COUNTER valgrind)
    set(counted_tiers scalar avx2)
    count_instructions(instructions.avx512 step avx512)
  elseif(GATEKERN_ARCHITECTURE STREQUAL aarch64)
    find_program(INSTRUCTION_COUNTER qemu-aarch64)
    set(counted_tiers neon)
  endif()
  if(INSTRUCTION_COUNTER)
    foreach(tier IN LISTS counted_tiers)
      count_instructions(instructions.${tier} ${INSTRUCTION_COUNTER} ${tier})
    endforeach()
  elseif(counted_tiers)
    message(WARNING "No valgrind or qemu-aarch64: instructions are not counted")
  endif()
elseif(NOT GATEKERN_TEST_LABEL AND CMAKE_BUILD_TYPE STREQUAL Release)
  message(STATUS "Instructions are not counted: their bounds are those of GCC 12")
endif()

# ---- Style ---------------------------------------------------------------------------------------

if(NOT GATEKERN_TEST_LABEL AND NOT GATEKERN_SANITIZE)
  function(is_clang_format_16 result program)
    execute_process(COMMAND ${program} --version OUTPUT_VARIABLE version)
    if(NOT version MATCHES "version 16\\.")
      set(${result} FALSE PARENT_SCOPE)
    endif()
  endfunction()
  gatekern_add_test(style.arrows sh ${tests_dir}/check_arrows.sh ${PROJECT_SOURCE_DIR})
  find_program(CLANG_FORMAT NAMES clang-format-16 clang-format VALIDATOR is_clang_format_16)
  if(CLANG_FORMAT)
    gatekern_add_test(style.format sh ${tests_dir}/check_format.sh ${CLANG_FORMAT} ${PROJECT_SOURCE_DIR})
  else()
    message(WARNING "No clang-format-16, the version whose output the project keeps: style is not checked")
  endif()
  if(GATEKERN_TEST_FULL)
    find_program(RUN_CLANG_TIDY NAMES run-clang-tidy-16 run-clang-tidy REQUIRED)
    gatekern_add_test(style.tidy ${RUN_CLANG_TIDY} -quiet -p ${PROJECT_BINARY_DIR}
      "${PROJECT_SOURCE_DIR}/(bench|dispatch|examples|kernels|src)/.*\\.c$")
  endif()
endif()

# ---- Benchmarks, their report, plots -------------------------------------------------------------

if(NOT GATEKERN_TEST_LABEL AND NOT GATEKERN_SANITIZE)
  find_program(PYTHON3 python3)
  if(PYTHON3)
    gatekern_add_test(report ${PYTHON3} ${tests_dir}/check_report.py ${PROJECT_SOURCE_DIR})
    gatekern_add_test(plots ${PYTHON3} ${tests_dir}/check_plots.py ${PROJECT_SOURCE_DIR} $<TARGET_FILE:gatekern-program>)
    set(check_benchmarks ${PYTHON3} ${tests_dir}/check_benchmarks.py)
    if(GATEKERN_BUILD_BENCH)
      gatekern_add_test(benchmarks.counts ${check_benchmarks} counts $<TARGET_FILE:gatekern-bench> ${PROJECT_SOURCE_DIR})
    endif()
    if(GATEKERN_BUILD_BENCH AND GATEKERN_ARCHITECTURE STREQUAL x86)
      gatekern_add_test(benchmarks.plain-c ${check_benchmarks} plain-c $<TARGET_FILE:gatekern-bench> ${PROJECT_SOURCE_DIR})
    endif()
  else()
    message(WARNING "No python3: neither benchmarks nor their report nor plots are tested")
  endif()
endif()

# ---- Peers and other builds ----------------------------------------------------------------------

if(GATEKERN_PEERS_PYTHON)
  file(GLOB peers CONFIGURE_DEPENDS ${tests_dir}/peers/compare_*.py)
  foreach(source IN LISTS peers)
    get_filename_component(name ${source} NAME_WE)
    string(REGEX REPLACE "^compare_" "peers." name ${name})
    gatekern_add_test(${name} ${GATEKERN_PEERS_PYTHON} ${source})
    set_tests_properties(${GATEKERN_TEST_PREFIX}${name} PROPERTIES LABELS peers TIMEOUT 600)
  endforeach()
endif()

# scripts/test builds them first; their tests, told apart by prefix, run and count with these.
set(other_tests ${PROJECT_BINARY_DIR}/generated/other_builds.cmake)
set(includes "")
foreach(build IN LISTS GATEKERN_TEST_BUILDS)
  string(APPEND includes "include(\"${build}/CTestTestfile.cmake\")\n")
endforeach()
file(WRITE ${other_tests} "${includes}")
set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${other_tests})
