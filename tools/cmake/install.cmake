# What `cmake --install` makes: a tree that can be moved, read-only and another user's.
#   bin/stanley  tools/  jobs/  configs/  README.md  LICENSE  .readme/
#   lib/stanley/  LibTorch, and the Python packages of the tools
option(STANLEY_INSTALL_TORCH "Copy LibTorch into the installed tree (OFF: it is used where it lies)" ON)
option(STANLEY_INSTALL_PYTHON "Copy the Python packages of the tools into the installed tree" ON)

# Others may read what is installed, whatever the umask is; what lay there before stays as it is.
install(CODE [[
  get_filename_component(root "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}" ABSOLUTE)
  set(stanley_installed ${root}/bin/stanley)
  foreach(name lib/stanley tools jobs configs .readme README.md LICENSE)
    list(APPEND stanley_installed ${root}/${name})
  endforeach()
  set(stanley_made)
  foreach(folder ${root}/bin ${root}/lib)
    while(NOT EXISTS ${folder})
      list(APPEND stanley_made ${folder})
      cmake_path(GET folder PARENT_PATH folder)
    endwhile()
  endforeach()
]])

# The libraries of a site (modules, Spack) stay where they are: their folders follow LibTorch's.
if(STANLEY_INSTALL_TORCH)
  set(installed_torch $ORIGIN/../lib/stanley/torch)
else()
  set(installed_torch ${STANLEY_TORCH_ROOT})
endif()
set_target_properties(stanley PROPERTIES
  INSTALL_RPATH ${installed_torch}/lib INSTALL_RPATH_USE_LINK_PATH ON)
install(TARGETS stanley RUNTIME DESTINATION bin)

# Without what builds, tests or compares stanley.
install(PROGRAMS tools/convert_images.py tools/plot_scaling.py tools/report.py
  tools/time_to_quality.py DESTINATION tools)
install(FILES tools/environment.py tools/steps.bash DESTINATION tools)
install(DIRECTORY tools/stanley_tools DESTINATION tools
  FILES_MATCHING PATTERN "*.py" PATTERN "*.css" PATTERN __pycache__ EXCLUDE PATTERN peers EXCLUDE PATTERN features EXCLUDE)
file(GLOB scripts CONFIGURE_DEPENDS jobs/*.sh jobs/*.sbatch)
file(GLOB sourced CONFIGURE_DEPENDS jobs/*.bash jobs/site.sh)
list(REMOVE_ITEM scripts ${sourced})
install(PROGRAMS ${scripts} DESTINATION jobs)
install(FILES ${sourced} DESTINATION jobs)
install(DIRECTORY configs .readme DESTINATION .)
install(FILES README.md LICENSE DESTINATION .)
install(FILES jobs/README.md DESTINATION jobs)
install(FILES tools/README.md DESTINATION tools)

if(STANLEY_INSTALL_TORCH)
  install(CODE "set(built_program \"$<TARGET_FILE:stanley>\")\nset(torch_root \"${STANLEY_TORCH_ROOT}\")")
  install(SCRIPT ${CMAKE_CURRENT_LIST_DIR}/copy_torch.cmake)
endif()
if(STANLEY_INSTALL_PYTHON)
  install(CODE "set(python \"${CMAKE_SOURCE_DIR}/.deps/venv/bin/python\")")
  install(SCRIPT ${CMAKE_CURRENT_LIST_DIR}/copy_packages.cmake)
endif()
install(CODE [[
  foreach(path ${stanley_installed})
    if(EXISTS ${path})
      execute_process(COMMAND chmod -R a+rX ${path} COMMAND_ERROR_IS_FATAL ANY)
    endif()
  endforeach()
  foreach(path ${stanley_made})
    if(EXISTS ${path})
      execute_process(COMMAND chmod a+rx ${path} COMMAND_ERROR_IS_FATAL ANY)
    endif()
  endforeach()
]])
