#pragma once

#include <string>

namespace stanley {

// Each file of ours ends with a seal, behind HDF5's last byte, where HDF5 doesn't look. It vouches
// for all that a reader sees beside the arrays that have digests of their own: names, types,
// shapes, attributes, dimension scales, the values of small arrays. HDF5 keeps checksums of some of
// these bytes and none of others, its versions differ in what they refuse, and over some damage
// they crash; so the seal is of the bytes themselves, and is looked at before HDF5 is.
//
//   pairs (first byte, bytes) of what is left out, rising: the values of digested arrays
//   number of pairs
//   XXH3, 64 bits, of all bytes before the seal that are not left out, then of pairs and number
//   "STANLEY1"
//
// All numbers are of 64 bits, little-endian. tools/stanley_tools/data/seal.py writes the same.

enum class Seal {
  whole,   ///< the file agrees with it
  broken,  ///< it doesn't
  none     ///< as of schema 1.0, other programs, and files that were cut or changed by them
};

/// Seals a complete, closed HDF5 file. One rank. Throws Error(input_output).
void seal(const std::string& path);

/// Compares a file with its seal, without HDF5. One rank. Throws Error(input_output) if the file
/// can't be read.
Seal check_seal(const std::string& path);

/// What a broken or a missing seal of a file of this schema version means; empty where all is well,
/// and for files that were made before there were seals.
std::string seal_problem(Seal seal, const std::string& schema_version);

}  // namespace stanley
