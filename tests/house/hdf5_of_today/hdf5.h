#pragma once
// What HDF5 1.12 and later declare of the calls in src/storage/hdf5_versions.hpp, without the names of 1.10:
// tests/house/portability.sh compiles that header against this one where no newer HDF5 is at hand.
#include <stdint.h>

#define H5_VERSION_GE(major, minor, release) ((major) < 1 || ((major) == 1 && (minor) <= 14))
typedef int64_t hid_t;
typedef int herr_t;
typedef uint64_t hsize_t;
typedef enum { H5_INDEX_NAME, H5_INDEX_CRT_ORDER } H5_index_t;
typedef enum { H5_ITER_INC, H5_ITER_DEC, H5_ITER_NATIVE } H5_iter_order_t;
typedef enum { H5O_TYPE_GROUP, H5O_TYPE_DATASET } H5O_type_t;
typedef enum { H5L_TYPE_HARD, H5L_TYPE_SOFT } H5L_type_t;
typedef struct { H5L_type_t type; } H5L_info2_t;
typedef struct { H5O_type_t type; } H5O_info2_t;
typedef herr_t (*H5L_iterate2_t)(hid_t, const char*, const H5L_info2_t*, void*);
#define H5P_DEFAULT ((hid_t)0)
#define H5O_INFO_BASIC 0x0001U
herr_t H5Oget_info_by_name3(hid_t, const char*, H5O_info2_t*, unsigned, hid_t);
herr_t H5Literate_by_name2(hid_t, const char*, H5_index_t, H5_iter_order_t, hsize_t*, H5L_iterate2_t, void*, hid_t);
herr_t H5Lvisit_by_name2(hid_t, const char*, H5_index_t, H5_iter_order_t, H5L_iterate2_t, void*, hid_t);
