#pragma once

#include <string>

namespace stanley {

/// Of the HDF5 that was loaded: "1.14.5".
std::string hdf5_version();

}  // namespace stanley
