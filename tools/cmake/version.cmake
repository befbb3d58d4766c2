# Sets version and commit to what the folder `source` says of itself: as a git checkout by its newest tag vX.Y.Z,
# as an archive of one by .git_archival.txt, and else `fallback` and "unknown".
#   v0.2.0 is 0.2.0, and the third commit after it is 0.2.0+3.gCOMMIT.
function(read_version source fallback)
  set(git git -c safe.directory=* -C ${source})  # root may build what a user has checked out
  execute_process(COMMAND ${git} rev-parse --show-toplevel
    OUTPUT_VARIABLE top OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  file(REAL_PATH ${source} real_source)
  # An archive may lie somewhere in a checkout of another program.
  if(NOT failed AND top STREQUAL real_source)
    execute_process(COMMAND ${git} describe --tags --match "v[0-9]*" --long --always --dirty --abbrev=12
      OUTPUT_VARIABLE described OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    string(REGEX REPLACE "^.*-g([0-9a-f]+)" "\\1" commit "${described}")
  elseif(EXISTS ${source}/.git_archival.txt)
    file(READ ${source}/.git_archival.txt archival)
    if(archival MATCHES "node: ([0-9a-f]+)\n")
      string(SUBSTRING ${CMAKE_MATCH_1} 0 12 commit)
    endif()
    if(archival MATCHES "describe-name: ([^\n]*)")
      set(described "${CMAKE_MATCH_1}")
    endif()
  endif()
  if(described MATCHES "^v([0-9].*)-([0-9]+)-g([0-9a-f]+)")
    set(version ${CMAKE_MATCH_1})
    if(NOT CMAKE_MATCH_2 EQUAL 0)
      string(APPEND version "+${CMAKE_MATCH_2}.g${CMAKE_MATCH_3}")
    endif()
  elseif(described MATCHES "^v([0-9].*)$")
    set(version ${CMAKE_MATCH_1})
  else()
    set(version ${fallback})
  endif()
  if(NOT commit)
    set(commit unknown)
  endif()
  set(version ${version} PARENT_SCOPE)
  set(commit ${commit} PARENT_SCOPE)
endfunction()
