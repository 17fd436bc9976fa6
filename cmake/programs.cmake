# SPDX-License-Identifier: Apache-2.0
#
# The programs know the library by include/ alone. gatekern is C; only gatekern-bench, the shim around
# Google Benchmark, is C++.

# Named shapes: every list of bench/shapes becomes one line of bench_lists[] (bench/shapes.h).
file(GLOB shape_lists CONFIGURE_DEPENDS bench/shapes/*.txt)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${shape_lists})
set(entries "")
foreach(list IN LISTS shape_lists)
  file(READ ${list} text)
  string(REPLACE "\\" "\\\\" text "${text}")
  string(REPLACE "\"" "\\\"" text "${text}")
  string(REPLACE "\n" "\\n\"\n    \"" text "${text}")
  get_filename_component(name ${list} NAME_WE)
  string(APPEND entries "  {\"${name}\",\n    \"${text}\"},\n")
endforeach()
file(CONFIGURE OUTPUT generated/bench_lists.c @ONLY CONTENT
  "#include \"shapes.h\"\n\nconst bench_list bench_lists[] = {\n@entries@  {NULL, NULL}\n};\n")

# The built-in corpus: the project's own C sources in sorted order, every tenth file held out whole.
file(GLOB_RECURSE corpus RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS
  bench/*.[ch] dispatch/*.[ch] examples/*.[ch] include/*.[ch] kernels/*.[ch] src/*.[ch] tests/*.[ch])
list(SORT corpus)
set(corpus_train)
set(corpus_valid)
set(index 0)
foreach(file IN LISTS corpus)
  math(EXPR index "(${index} + 1) % 10")
  if(index EQUAL 0)
    list(APPEND corpus_valid ${file})
  else()
    list(APPEND corpus_train ${file})
  endif()
endforeach()
foreach(part train valid)
  set(text ${PROJECT_BINARY_DIR}/generated/corpus_${part}.txt)
  add_custom_command(OUTPUT ${text} VERBATIM
    COMMAND ${CMAKE_COMMAND} -E cat ${corpus_${part}} > ${text}
    DEPENDS ${corpus_${part}} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
    COMMENT "Joining the sources of the built-in corpus (${part})")
  list(APPEND corpus_texts ${text})
endforeach()
set_source_files_properties(src/cli/builtin_corpus.c PROPERTIES OBJECT_DEPENDS "${corpus_texts}")

# "bench/runner.h" can be included without the project's root, and so its internal headers, on the path.
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/generated/include)
file(CREATE_LINK ${PROJECT_SOURCE_DIR}/bench ${PROJECT_BINARY_DIR}/generated/include/bench SYMBOLIC)

file(GLOB cli_sources CONFIGURE_DEPENDS src/cli/*.c)
file(GLOB runner_sources CONFIGURE_DEPENDS bench/checksum*.c bench/runner*.c bench/shapes*.c)
list(APPEND runner_sources ${PROJECT_BINARY_DIR}/generated/bench_lists.c)

# Not "gatekern": who embeds the project would take that for the library.
add_executable(gatekern-program ${cli_sources} ${runner_sources})
set_target_properties(gatekern-program PROPERTIES OUTPUT_NAME gatekern)
target_link_options(gatekern-program PRIVATE ${gatekern_link_options})
target_include_directories(gatekern-program PRIVATE
  src/cli bench ${PROJECT_BINARY_DIR}/generated ${PROJECT_BINARY_DIR}/generated/include)
target_include_directories(gatekern-program SYSTEM PRIVATE ${JANSSON_INCLUDE_DIRS})
target_link_libraries(gatekern-program PRIVATE gatekern-baseline-flags gatekern-train-static PkgConfig::JANSSON m)

if(GATEKERN_BUILD_BENCH)
  enable_language(CXX)
  find_package(benchmark REQUIRED)
  file(GLOB bench_sources CONFIGURE_DEPENDS bench/*.c bench/*.cc)
  # Plain C for each tier by the compiler alone. Columns: the best of 16 to 128 with four rows of sums (GCC 12).
  list(FILTER bench_sources EXCLUDE REGEX "/(plain_c[^/]*|option_costs)\\.c$")
  add_executable(gatekern-bench-options bench/option_costs.c bench/runner_clock.c)
  target_include_directories(gatekern-bench-options PRIVATE bench)
  target_link_libraries(gatekern-bench-options PRIVATE gatekern-baseline-flags gatekern-static m)
  set(plain_c_objects)
  if(GATEKERN_ARCHITECTURE STREQUAL x86)
    list(APPEND bench_sources bench/plain_c_benchmarks.c)
    set(plain_c_avx2 -mavx2 -mfma -DPLAIN_C_COLUMNS=24)
    set(plain_c_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma
      -mprefer-vector-width=512 -DPLAIN_C_COLUMNS=64)
    foreach(tier avx2 avx512)
      add_library(plain-c-${tier} OBJECT bench/plain_c.c)
      target_include_directories(plain-c-${tier} PRIVATE bench include)
      target_compile_definitions(plain-c-${tier} PRIVATE PLAIN_C_TIER=${tier})
      target_link_libraries(plain-c-${tier} PRIVATE gatekern-baseline-flags OpenMP::OpenMP_C)
      target_compile_options(plain-c-${tier} PRIVATE -O3 ${plain_c_${tier}})
      list(APPEND plain_c_objects $<TARGET_OBJECTS:plain-c-${tier}>)
    endforeach()
  endif()
  # Kernels are not public: what times them one by one sees the tables that dispatch hands out.
  file(GLOB kernel_benchmarks CONFIGURE_DEPENDS bench/kernel*.c)
  set_source_files_properties(${kernel_benchmarks} PROPERTIES INCLUDE_DIRECTORIES "${PROJECT_SOURCE_DIR};${PROJECT_SOURCE_DIR}/include")
  add_executable(gatekern-bench ${bench_sources} ${plain_c_objects} ${PROJECT_BINARY_DIR}/generated/bench_lists.c)
  target_compile_features(gatekern-bench PRIVATE cxx_std_17)
  target_include_directories(gatekern-bench PRIVATE bench)
  target_link_libraries(gatekern-bench PRIVATE gatekern-baseline-flags gatekern-static benchmark::benchmark m)
endif()
