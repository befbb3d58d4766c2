# What `cmake --install` makes: a tree that can be moved, read-only and another user's.
#   bin/stanley  tools/  jobs/  configs/  README.md  LICENSE  .readme/
#   lib/stanley/  LibTorch, and the Python packages of the tools
option(STANLEY_INSTALL_TORCH "Copy LibTorch into the installed tree (OFF: it is used where it lies)" ON)
option(STANLEY_INSTALL_PYTHON "Copy the Python packages of the tools into the installed tree" ON)

set(CMAKE_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE
  GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)  # of those that are made

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
file(GLOB modules_of_tools CONFIGURE_DEPENDS tools/report_*.py)
install(PROGRAMS tools/convert_images.py tools/plot_scaling.py tools/report.py tools/run_settings.py
  DESTINATION tools)
install(FILES tools/environment.py tools/report.css tools/run_files.py tools/steps.sh ${modules_of_tools}
  DESTINATION tools)
install(DIRECTORY tools/convert DESTINATION tools FILES_MATCHING PATTERN "*.py" PATTERN __pycache__ EXCLUDE)
file(GLOB scripts CONFIGURE_DEPENDS jobs/*.sh jobs/*.sbatch)
install(PROGRAMS ${scripts} DESTINATION jobs)
install(DIRECTORY configs .readme DESTINATION .)
install(FILES README.md LICENSE DESTINATION .)

if(STANLEY_INSTALL_TORCH)
  install(CODE "set(built_program \"$<TARGET_FILE:stanley>\")\nset(torch_root \"${STANLEY_TORCH_ROOT}\")")
  install(SCRIPT ${CMAKE_CURRENT_LIST_DIR}/copy_torch.cmake)
endif()
if(STANLEY_INSTALL_PYTHON)
  install(CODE "set(python \"${CMAKE_SOURCE_DIR}/.deps/venv/bin/python\")")
  install(SCRIPT ${CMAKE_CURRENT_LIST_DIR}/copy_packages.cmake)
endif()
# Others may read what is installed, whatever the umask was; what lay there before stays as it is.
install(CODE [[
  set(root $ENV{DESTDIR}${CMAKE_INSTALL_PREFIX})
  foreach(installed bin/stanley lib/stanley tools jobs configs .readme README.md LICENSE)
    if(EXISTS ${root}/${installed})
      execute_process(COMMAND chmod -R a+rX ${root}/${installed} COMMAND_ERROR_IS_FATAL ANY)
    endif()
  endforeach()
]])
