# SPDX-License-Identifier: Apache-2.0
#
# What `cmake --install` puts down: libraries, headers, the program, and how others find them: pkg-config
# (gatekern, gatekern-train; --static for the archives) and find_package(gatekern) (gatekern::gatekern,
# gatekern::gatekern-train, the shared libraries).
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set_target_properties(gatekern-shared PROPERTIES EXPORT_NAME gatekern)
set_target_properties(gatekern-train-shared PROPERTIES EXPORT_NAME gatekern-train)
# A program that calls only gatekern-train names only that one, and its own path does not reach what a library needs.
# In /usr the loader looks anyway, and distributions refuse paths of their own there.
if(APPLE)
  set_target_properties(gatekern-train-shared PROPERTIES INSTALL_RPATH "@loader_path")
elseif(NOT CMAKE_INSTALL_PREFIX STREQUAL /usr)
  set_target_properties(gatekern-train-shared PROPERTIES INSTALL_RPATH "$ORIGIN")
endif()
install(TARGETS gatekern-program gatekern-static gatekern-train-static)
install(TARGETS gatekern-shared gatekern-train-shared EXPORT gatekern INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/gatekern)
install(EXPORT gatekern NAMESPACE gatekern:: FILE gatekernConfig.cmake DESTINATION ${package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/generated/gatekernConfigVersion.cmake
  COMPATIBILITY ${interface_compatibility})
install(FILES ${PROJECT_BINARY_DIR}/generated/gatekernConfigVersion.cmake DESTINATION ${package})

# Relative to where the file itself stands, so that a tree that is moved, or installed with --prefix, works.
file(RELATIVE_PATH to_prefix ${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
function(gatekern_add_pkgconfig name description fields)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/generated/${name}.pc @ONLY CONTENT
"prefix=\${pcfiledir}/@to_prefix@
Name: @name@
Description: @description@
Version: @PROJECT_VERSION@
Cflags: -I\${prefix}/@CMAKE_INSTALL_INCLUDEDIR@
Libs: -L\${prefix}/@CMAKE_INSTALL_LIBDIR@ -l@name@
@fields@
")
  install(FILES ${PROJECT_BINARY_DIR}/generated/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()

# OpenMP by its libraries' names: GCC refuses Clang's -fopenmp=libomp. Every compiler finds GCC's library by itself;
# LLVM's may stand in a folder that only Clang knows.
if(OpenMP_C_LIB_NAMES)
  list(JOIN OpenMP_C_LIB_NAMES " -l" openmp)
  string(PREPEND openmp -l)
  if(NOT CMAKE_C_COMPILER_ID STREQUAL GNU)
    list(GET OpenMP_C_LIB_NAMES 0 library)
    cmake_path(GET OpenMP_${library}_LIBRARY PARENT_PATH folder)
    string(PREPEND openmp "-L${folder} ")
  endif()
else() # the compiler links it unasked
  set(openmp "${OpenMP_C_FLAGS}")
endif()
gatekern_add_pkgconfig(gatekern "Recurrent networks on CPUs, with the same bits everywhere"
  "Requires.private: sleef\nLibs.private: ${openmp} -lm")
gatekern_add_pkgconfig(gatekern-train "Files, language models and their trainer for gatekern"
  "Requires: gatekern\nRequires.private: jansson\nLibs.private: -lm")
