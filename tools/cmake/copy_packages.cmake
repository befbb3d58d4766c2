# Copies the Python packages of the tools from the environment of `python` into the installed tree.
if(EXISTS ${python})
  execute_process(COMMAND ${python} ${CMAKE_CURRENT_LIST_DIR}/copy_packages.py
      $ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/lib/stanley COMMAND_ERROR_IS_FATAL ANY)
else()
  message(STATUS "There is no ${python}: the installed tools will need a Python that has their packages")
endif()
