# Brings the sources of a library that is missing, at the commit that fetched.txt names.
include(FetchContent)

option(STANLEY_FETCH "Fetch and build the small libraries that are not there (needs git)" OFF)
set(STANLEY_FETCH_FROM "" CACHE PATH "Folder of clones to fetch from instead of the internet (tools/fetch_libraries.sh)")
# Environment variables of these names count too: jobs/local.sh hands no options to CMake.
foreach(name STANLEY_FETCH STANLEY_FETCH_FROM)
  if(NOT ${name} AND NOT "$ENV{${name}}" STREQUAL "")
    set(${name} "$ENV{${name}}")
  endif()
endforeach()
set(BUILD_SHARED_LIBS OFF)  # what is fetched goes into the program
if(STANLEY_FETCH_FROM)
  file(REAL_PATH ${STANLEY_FETCH_FROM} STANLEY_FETCH_FROM BASE_DIRECTORY ${CMAKE_SOURCE_DIR})
  set(STANLEY_FETCH ON)
endif()
file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/fetched.txt STANLEY_FETCHED REGEX "^[^#]")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/fetched.txt)

# They are libraries of this build alone: nothing of them is tested or installed.
foreach(option FMT_INSTALL SPDLOG_INSTALL CLI11_INSTALL JSON_Install YAML_CPP_INSTALL INSTALL_GTEST BUILD_GMOCK
    FMT_TEST CLI11_BUILD_TESTS JSON_BuildTests YAML_CPP_BUILD_TESTS CLI11_BUILD_EXAMPLES YAML_CPP_BUILD_TOOLS)
  set(${option} OFF)
endforeach()
set(SPDLOG_FMT_EXTERNAL ON)
set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)  # those variables are heard

# Makes the targets of the library NAME; sets RESULT to its source folder, or to nothing where it may not or
# cannot be fetched.
macro(fetch name result)
  set(${result} "")
  foreach(line ${STANLEY_FETCHED})
    if(STANLEY_FETCH AND line MATCHES "^${name} +([^ ]+) +([^ ]+) +([^ ]+)$")
      fetch_commit(${name} ${CMAKE_MATCH_1} ${CMAKE_MATCH_2} ${CMAKE_MATCH_3} ${result})
    endif()
  endforeach()
endmacro()

macro(fetch_commit name url release commit result)
  set(source ${url})
  if(STANLEY_FETCH_FROM)
    set(source ${STANLEY_FETCH_FROM}/${name})
  endif()
  set(fetch_fails FALSE)
  if(STANLEY_FETCH_FROM)
    # Others may have made it: git trusts no one else's clones, unless it is told to.
    execute_process(COMMAND git -c safe.directory=* -C ${source} cat-file -e ${commit}^{commit}
      RESULT_VARIABLE fetch_fails ERROR_QUIET)
    set(ENV{GIT_CONFIG_COUNT} 1)
    set(ENV{GIT_CONFIG_KEY_0} safe.directory)
    set(ENV{GIT_CONFIG_VALUE_0} *)
  endif()
  if(fetch_fails)
    missing(STANLEY_FETCH_FROM "${source} is not there or has no commit ${commit} (${release}): run tools/fetch_libraries.sh ${STANLEY_FETCH_FROM} where there is internet")
  else()
    message(STATUS "fetching ${name} ${release} from ${source}")
    FetchContent_Declare(${name} GIT_REPOSITORY ${source} GIT_TAG ${commit} OVERRIDE_FIND_PACKAGE)
    FetchContent_MakeAvailable(${name})
    string(TOLOWER ${name} lower_name)
    set(${result} ${${lower_name}_SOURCE_DIR})
    # Warnings in their headers are theirs. (FetchContent's own word for it is broken in CMake 3.25.)
    if(EXISTS ${${result}}/CMakeLists.txt)
      get_property(fetched_targets DIRECTORY ${${result}} PROPERTY BUILDSYSTEM_TARGETS)
      set_target_properties(${fetched_targets} PROPERTIES SYSTEM ON)
    endif()
  endif()
endmacro()
