# Finds an HDF5 that was built for parallel files with the MPI that was found, and its high-level library
# (dimension scales): the target stanley_hdf5.
include(CheckCXXSourceCompiles)
include(CheckCXXSymbolExists)

# Debian keeps one HDF5 for each MPI, told apart by the names of compiler wrappers and of pkg-config's files.
function(name_mpi result)
  set(CMAKE_REQUIRED_LIBRARIES MPI::MPI_CXX)
  set(CMAKE_REQUIRED_DEFINITIONS -DOMPI_SKIP_MPICXX)
  check_cxx_symbol_exists(OPEN_MPI mpi.h STANLEY_MPI_IS_OPEN_MPI)
  if(STANLEY_MPI_IS_OPEN_MPI)
    set(${result} openmpi PARENT_SCOPE)
  else()
    set(${result} mpich PARENT_SCOPE)
  endif()
endfunction()

# The MPI libraries that FILES ask the loader for: "libmpi.so.40".
function(mpi_libraries_of result)  # RESULT FILE...
  set(found)
  foreach(file ${ARGN})
    execute_process(COMMAND ${CMAKE_READELF} -d ${file} OUTPUT_VARIABLE dynamic ERROR_QUIET)
    string(REGEX MATCHALL "(NEEDED|SONAME)[^[]*\\[libmpi(ch)?(_[a-z]+)?\\.so[^]]*\\]" entries "${dynamic}")
    list(TRANSFORM entries REPLACE ".*\\[(.*)\\]" "\\1")
    list(APPEND found ${entries})
  endforeach()
  list(REMOVE_DUPLICATES found)
  set(${result} ${found} PARENT_SCOPE)
endfunction()

# What is wrong with stanley_hdf5, whose library is FILE; empty where it is good.
function(problem_of_hdf5 result file)
  set(CMAKE_REQUIRED_LIBRARIES stanley_hdf5 MPI::MPI_CXX)
  set(CMAKE_REQUIRED_DEFINITIONS -DOMPI_SKIP_MPICXX -DMPICH_SKIP_MPICXX)
  check_cxx_source_compiles("#include <hdf5.h>
    #include <hdf5_hl.h>
    #ifndef H5_HAVE_PARALLEL
    #error serial
    #endif
    int main() {
      return H5Pset_fapl_mpio(H5P_DEFAULT, MPI_COMM_WORLD, MPI_INFO_NULL) + H5DSis_scale(0) != 0;
    }" STANLEY_HDF5_IS_PARALLEL)
  mpi_libraries_of(wanted ${file})
  mpi_libraries_of(there ${MPI_CXX_LIBRARIES})
  set(foreign ${wanted})
  list(REMOVE_ITEM foreign ${there})
  if(NOT STANLEY_HDF5_IS_PARALLEL)
    set(${result} "${file} was not built for parallel files with MPI, or lacks its high-level library" PARENT_SCOPE)
  elseif(foreign AND there)
    set(${result} "${file} was built with another MPI: it needs ${foreign}, and ${MPI_CXX_COMPILER} links ${there}"
      PARENT_SCOPE)
  else()
    set(${result} "" PARENT_SCOPE)
  endif()
endfunction()

function(find_hdf5)
  name_mpi(mpi)
  find_program(HDF5_C_COMPILER_EXECUTABLE NAMES h5pcc.${mpi} h5pcc h5cc)
  set(HDF5_PREFER_PARALLEL ON)
  find_package(HDF5 QUIET COMPONENTS C HL GLOBAL)
  if(TARGET hdf5::hdf5 AND TARGET hdf5::hdf5_hl)
    add_library(stanley_hdf5 INTERFACE IMPORTED GLOBAL)
    target_link_libraries(stanley_hdf5 INTERFACE hdf5::hdf5_hl hdf5::hdf5)
    target_include_directories(stanley_hdf5 SYSTEM INTERFACE ${HDF5_INCLUDE_DIRS})
    list(GET HDF5_C_LIBRARIES 0 file)
  elseif(PkgConfig_FOUND)
    pkg_search_module(hdf5_of_pkg_config QUIET IMPORTED_TARGET GLOBAL hdf5-${mpi} hdf5)
    find_library(STANLEY_HDF5_HL NAMES hdf5_hl hdf5_${mpi}_hl HINTS ${hdf5_of_pkg_config_LIBRARY_DIRS})
    if(hdf5_of_pkg_config_FOUND AND STANLEY_HDF5_HL)
      add_library(stanley_hdf5 INTERFACE IMPORTED GLOBAL)
      target_link_libraries(stanley_hdf5 INTERFACE ${STANLEY_HDF5_HL} PkgConfig::hdf5_of_pkg_config)
      list(GET hdf5_of_pkg_config_LINK_LIBRARIES 0 file)
    endif()
  endif()
  if(TARGET stanley_hdf5)
    problem_of_hdf5(problem ${file})
  else()
    set(problem "no HDF5 with its high-level library was found by h5pcc, by CMake or by pkg-config (HDF5_ROOT names one)")
  endif()
  set(problem "${problem}" PARENT_SCOPE)
endfunction()

find_hdf5()
if(problem)
  missing(HDF5 "${problem}")
endif()
