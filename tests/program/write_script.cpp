// Writes a TorchScript module of tests/script_modules.hpp, for the tests of the program: not every
// machine has a Python that can.  usage: write_script KIND FILE
#include <iostream>

#include "script_modules.hpp"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: write_script KIND FILE\n";
    return 2;
  }
  stanley::script_module(argv[1]).save(argv[2]);
}
