#pragma once

#include <hdf5.h>

// The calls that HDF5 1.12 gave new types, by names that all releases share.
namespace stanley::hdf5 {

#if H5_VERSION_GE(1, 12, 0)

using LinkInfo = H5L_info2_t;
using ObjectInfo = H5O_info2_t;

inline herr_t link_info(hid_t group, const char* name, LinkInfo* info) {
  return H5Lget_info2(group, name, info, H5P_DEFAULT);
}
inline herr_t object_info(hid_t group, const char* name, ObjectInfo* info) {
  return H5Oget_info_by_name3(group, name, info, H5O_INFO_BASIC, H5P_DEFAULT);
}
inline herr_t visit_links(hid_t file, const char* group, H5L_iterate2_t visit, void* state) {
  return H5Literate_by_name2(file, group, H5_INDEX_NAME, H5_ITER_INC, nullptr, visit, state,
                             H5P_DEFAULT);
}
inline herr_t visit_all_links(hid_t file, const char* group, H5L_iterate2_t visit, void* state) {
  return H5Lvisit_by_name2(file, group, H5_INDEX_NAME, H5_ITER_INC, visit, state, H5P_DEFAULT);
}

#else

using LinkInfo = H5L_info_t;
using ObjectInfo = H5O_info_t;

inline herr_t link_info(hid_t group, const char* name, LinkInfo* info) {
  return H5Lget_info(group, name, info, H5P_DEFAULT);
}
inline herr_t object_info(hid_t group, const char* name, ObjectInfo* info) {
  return H5Oget_info_by_name2(group, name, info, H5O_INFO_BASIC, H5P_DEFAULT);
}
inline herr_t visit_links(hid_t file, const char* group, H5L_iterate_t visit, void* state) {
  return H5Literate_by_name(file, group, H5_INDEX_NAME, H5_ITER_INC, nullptr, visit, state,
                            H5P_DEFAULT);
}
inline herr_t visit_all_links(hid_t file, const char* group, H5L_iterate_t visit, void* state) {
  return H5Lvisit_by_name(file, group, H5_INDEX_NAME, H5_ITER_INC, visit, state, H5P_DEFAULT);
}

#endif

}  // namespace stanley::hdf5
