#pragma once

#include <hdf5.h>

// The calls that HDF5 1.12 gave new types, by names that all releases share.
namespace stanley::hdf5 {

#if H5_VERSION_GE(1, 12, 0)
using LinkInfo = H5L_info2_t;
using ObjectInfo = H5O_info2_t;
inline constexpr auto* get_object_info = H5Oget_info_by_name3;
inline constexpr auto* iterate_links = H5Literate_by_name2;
inline constexpr auto* visit_links = H5Lvisit_by_name2;
#else
using LinkInfo = H5L_info_t;
using ObjectInfo = H5O_info_t;
inline constexpr auto* get_object_info = H5Oget_info_by_name2;
inline constexpr auto* iterate_links = H5Literate_by_name;
inline constexpr auto* visit_links = H5Lvisit_by_name;
#endif

}  // namespace stanley::hdf5
