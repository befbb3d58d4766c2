# Copies those of LibTorch's libraries that `built_program` loads into the installed tree. They find each other by
# how they lie in the wheel (torch/lib, nvidia/*/lib, torch.libs), and so they lie there, too.
file(REAL_PATH ${torch_root} torch_root)
cmake_path(GET torch_root PARENT_PATH packages)
set(installed ${CMAKE_INSTALL_PREFIX}/lib/stanley)

function(copy_library library)
  cmake_path(GET library PARENT_PATH folder)
  cmake_path(GET library FILENAME name)
  file(REAL_PATH ${folder} folder)
  foreach(pair "${torch_root}|torch" "${packages}/torch.libs|torch.libs" "${packages}/nvidia|nvidia")
    string(REPLACE "|" ";" pair "${pair}")
    list(GET pair 0 from)
    list(GET pair 1 to)
    cmake_path(IS_PREFIX from ${folder} found)
    if(found)
      file(RELATIVE_PATH below ${from} ${folder})
      file(INSTALL ${folder}/${name} DESTINATION ${installed}/${to}/${below}
        TYPE SHARED_LIBRARY FOLLOW_SYMLINK_CHAIN)
      return()
    endif()
  endforeach()
endfunction()

execute_process(COMMAND ldd ${built_program} OUTPUT_VARIABLE loaded COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "=> /[^\n]+ \\(0x" loaded "${loaded}")
list(TRANSFORM loaded REPLACE "^=> (.*) \\(0x$" "\\1")
# LibTorch opens these by name, on a GPU alone; NVIDIA's libraries open others beside them.
if("${loaded}" MATCHES "/libtorch_cuda\\.so")
  file(GLOB opened ${torch_root}/lib/libtorch_cuda_*.so ${torch_root}/lib/libcaffe2_nvrtc.so
    ${torch_root}/lib/libtorch_nvshmem.so ${packages}/nvidia/*/lib/*.so*)
endif()
foreach(library ${loaded} ${opened})
  copy_library("${library}")
endforeach()
if(NOT EXISTS $ENV{DESTDIR}${installed}/torch/lib/libtorch_cpu.so)
  message(FATAL_ERROR "${built_program} does not load libtorch_cpu.so of ${torch_root}: configure with "
    "-DSTANLEY_INSTALL_TORCH=OFF, and LibTorch is used where it lies")
endif()
