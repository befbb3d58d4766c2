# LibTorch from a wheel, an archive or a site's module, through targets of our own: find_package(Torch) insists on a
# CUDA toolkit and rewrites the flags of all that links it.

set(STANLEY_DEPS ${CMAKE_CURRENT_LIST_DIR}/../../.deps)

# Where tools/setup.sh put it or found it; else that of the Python at hand.
function(find_torch result)
  if(NOT "$ENV{STANLEY_TORCH_ROOT}" STREQUAL "")
    set(${result} "$ENV{STANLEY_TORCH_ROOT}" PARENT_SCOPE)
    return()
  endif()
  set(candidates ${STANLEY_DEPS}/torch)
  file(GLOB in_venv ${STANLEY_DEPS}/venv/lib/python3*/site-packages/torch)
  list(APPEND candidates ${in_venv})
  foreach(candidate ${candidates})
    if(EXISTS ${candidate}/lib/libtorch_cpu.so)
      file(REAL_PATH ${candidate} folder)
      set(${result} ${folder} PARENT_SCOPE)
      return()
    endif()
  endforeach()
  find_program(STANLEY_PYTHON NAMES python3)
  mark_as_advanced(STANLEY_PYTHON)
  if(STANLEY_PYTHON)
    execute_process(COMMAND ${STANLEY_PYTHON} -c
      "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0], end='')"
      OUTPUT_VARIABLE folder ERROR_QUIET)
    set(${result} "${folder}" PARENT_SCOPE)
  endif()
endfunction()

# "2.11.0+cu130", from what a wheel or an archive says of itself, or else "2.11.0" from its headers.
function(torch_version folder result)
  set(version "")
  file(GLOB headers ${folder}/include/torch/headeronly/version.h
    ${folder}/include/torch/csrc/api/include/torch/version.h)
  if(EXISTS ${folder}/version.py)
    file(STRINGS ${folder}/version.py lines REGEX "^__version__")
    string(REGEX REPLACE ".*'(.*)'.*" "\\1" version "${lines}")
  elseif(EXISTS ${folder}/build-version)
    file(READ ${folder}/build-version version)
    string(STRIP "${version}" version)
  else()
    foreach(header ${headers})
      file(STRINGS ${header} lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) [0-9]+")
      list(TRANSFORM lines REPLACE "[^0-9]" "")
      if(lines)
        list(JOIN lines "." version)
      endif()
    endforeach()
  endif()
  set(${result} "${version}" PARENT_SCOPE)
endfunction()

# What is wrong with the LibTorch in FOLDER; empty where it is good.
function(problem_of_torch folder result)
  set(problem "")
  torch_version("${folder}" version)
  if(NOT EXISTS ${folder}/lib/libtorch_cpu.so)
    set(problem "no lib/libtorch_cpu.so in '${folder}': run tools/setup.sh, or set STANLEY_TORCH_ROOT to a torch folder")
  elseif(version STREQUAL "")
    set(problem "${folder} has no C++ headers in include")
  elseif(version VERSION_LESS 2.6)
    set(problem "${folder} holds ${version}, and 2.6 is the oldest that can be used")
  elseif(EXISTS ${folder}/share/cmake/Torch/TorchConfig.cmake)
    file(STRINGS ${folder}/share/cmake/Torch/TorchConfig.cmake old_abi REGEX "_GLIBCXX_USE_CXX11_ABI=0")
    if(old_abi)
      set(problem "${folder} was built with the old ABI of C++ (_GLIBCXX_USE_CXX11_ABI=0)")
    endif()
  endif()
  set(${result} "${problem}" PARENT_SCOPE)
endfunction()

set(STANLEY_TORCH_ROOT "" CACHE PATH "The torch folder of a wheel, of LibTorch's archive or of a module; empty: looked for")
if(NOT STANLEY_TORCH_ROOT)
  find_torch(torch_found)
  set(STANLEY_TORCH_ROOT "${torch_found}")
endif()
problem_of_torch("${STANLEY_TORCH_ROOT}" problem)
if(problem)
  missing(torch "${problem}")
endif()

# LibTorch brings headers of a newer fmt, without its symbols: the link puts those of the library that we link
# before them.
if(TARGET fmt::fmt)
  get_target_property(fmt_folder fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
  find_path(STANLEY_FMT_INCLUDE_DIR fmt/format.h HINTS ${fmt_SOURCE_DIR}/include ${fmt_folder})
  mark_as_advanced(STANLEY_FMT_INCLUDE_DIR)
endif()
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/headers)
file(CREATE_LINK "${STANLEY_FMT_INCLUDE_DIR}/fmt" ${CMAKE_BINARY_DIR}/headers/fmt SYMBOLIC)

# The wheels of NVIDIA's libraries that it needs lie beside it: nvidia/cu13/lib, or nvidia/cuda_runtime/lib of CUDA 12.
file(GLOB torch_neighbours ${STANLEY_TORCH_ROOT}/../nvidia/*/lib)
add_library(torch_cpu INTERFACE)
target_include_directories(torch_cpu SYSTEM INTERFACE
  ${CMAKE_BINARY_DIR}/headers
  ${STANLEY_TORCH_ROOT}/include ${STANLEY_TORCH_ROOT}/include/torch/csrc/api/include)
target_link_libraries(torch_cpu INTERFACE
  ${STANLEY_TORCH_ROOT}/lib/libtorch_cpu.so ${STANLEY_TORCH_ROOT}/lib/libc10.so)
list(TRANSFORM torch_neighbours PREPEND -Wl,-rpath-link,)
target_link_options(torch_cpu INTERFACE ${torch_neighbours})
if(STANLEY_CUDA)
  # --no-as-needed: libtorch_cuda registers its kernels when it is loaded; nothing names it.
  target_link_libraries(torch_cpu INTERFACE
    -Wl,--no-as-needed ${STANLEY_TORCH_ROOT}/lib/libtorch_cuda.so
    ${STANLEY_TORCH_ROOT}/lib/libc10_cuda.so -Wl,--as-needed $<LINK_ONLY:CUDA::cudart>)
  target_link_options(torch_cpu INTERFACE
    -Wl,-rpath-link,${CUDAToolkit_LIBRARY_DIR} -Wl,-rpath,${CUDAToolkit_LIBRARY_DIR})
endif()
