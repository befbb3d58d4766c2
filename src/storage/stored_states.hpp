#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace stanley {

namespace hdf5 {
class File;
}

/// The states of a checkpoint's bank or of a draw file, in the order of chains, the draws of one
/// chain after each other. One rank reads for itself, without MPI, and only what it asks for; that
/// the file is whole is for inspect_file() to say. Errors: input_output.
class StoredStates {
 public:
  explicit StoredStates(const std::string& path);
  ~StoredStates();

  /// {channel, height, width} or {dimension}.
  const std::vector<std::int64_t>& shape() const { return shape_; }
  std::int64_t dimension() const;  ///< numbers of a state
  std::int64_t chains() const { return chains_; }
  /// Of each chain: 1 in a checkpoint.
  std::int64_t draws() const { return draws_; }
  /// Of all states: chains() · draws().
  std::int64_t count() const { return chains_ * draws_; }

  /// Steps since each state's chain began or restarted; none in a file that doesn't tell. Refuses
  /// what is no whole number from 0 on.
  std::vector<std::int64_t> ages() const;
  /// XXH3 of states and ages in hexadecimal digits: of the digests that the file has of them, or of
  /// their numbers where it has none.
  std::string digest() const;
  /// States first to first + count − 1 to out [count, shape...].
  void read(std::int64_t first, std::int64_t count, float* out) const;

 private:
  std::string digests_of(const std::string& array) const;
  std::string digest_of_numbers(const std::string& array) const;

  std::unique_ptr<hdf5::File> file_;
  std::string states_, ages_;  // their arrays
  std::vector<std::int64_t> shape_;
  std::int64_t chains_ = 0, draws_ = 1;
};

}  // namespace stanley
