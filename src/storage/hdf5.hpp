#pragma once

// Owners of HDF5 identifiers, for the files of this folder alone: it includes hdf5.h.

#include <hdf5.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "parallel/communicator.hpp"
#include "storage/array.hpp"

namespace stanley::hdf5 {

/// Owns one HDF5 identifier of any kind.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(other.release()), close_(other.close_) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (id_ >= 0 && close_ != nullptr) close_(id_);
  }

  hid_t id() const { return id_; }
  /// Gives the identifier away: the caller closes it.
  hid_t release() { return std::exchange(id_, H5I_INVALID_HID); }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

/// Throws Error(input_output) "cannot ACTION: reason" with the innermost reason that HDF5 gives.
[[noreturn]] void fail(const std::string& action);

/// Returns `status` unless it is negative, which is how HDF5 reports failure.
template <typename Status, typename Describe>
Status check(Status status, const Describe& describe) {
  if (status < 0) fail(describe());
  return status;
}

enum class Mode { read, write };

/// An open file. The one-rank functions call no MPI; a shared file is open on all ranks.
class File {
 public:
  /// Makes a new, empty file, replacing what was there. One rank alone.
  static File create(const std::string& path);
  static File open(const std::string& path, Mode mode);
  /// Collective: opens with MPI-IO and these hints; the default driver where there is one rank.
  /// Only close() closes it, not the destructor.
  static File open_shared(Communicator& communicator, const std::string& path, Mode mode,
                          const std::map<std::string, std::string>& hints);

  const std::string& path() const { return path_; }
  hid_t id() const { return handle_.id(); }
  /// Collective on a shared file.
  void flush();
  /// Collective on a shared file. Closes what is still open in it, and reports failure, which the
  /// destructor can't.
  void close();

 private:
  File(Handle handle, std::string path) : handle_(std::move(handle)), path_(std::move(path)) {}

  Handle handle_;
  std::string path_;
};

/// An open array of a file, with what is needed to name it in a message and to transfer it.
class Dataset {
 public:
  Dataset(const File& file, const std::string& name);
  Dataset(Handle handle, const File& file, std::string name);

  hid_t id() const { return handle_.id(); }
  const std::string& name() const { return name_; }
  std::string described() const;  ///< "array 'train/images' of FILE", for messages
  const std::vector<std::int64_t>& shape() const { return shape_; }
  /// Throws Error(input_output) if it isn't one of ours.
  ElementType type() const;
  /// Throws Error(input_output) unless the file holds exactly the bytes of all its elements, as it
  /// does for a contiguous array of ours: a shape that overflows, or was never written, doesn't.
  void check_space() const;
  /// Throws Error(input_output) where the array has elements and none was ever written, or more
  /// than any memory holds.
  void require_values() const;
  /// H5T_INTEGER, H5T_FLOAT, ...: of any size and byte order.
  H5T_class_t type_class() const;
  std::string type_text() const;  ///< "float32", "uint8", "big-endian int64", "text"
  /// One rank alone: all of it, from or to memory.
  void write_all(const void* data);
  void read_all(void* data) const;

 private:
  Handle handle_;
  std::string name_;
  std::string file_;
  std::vector<std::int64_t> shape_;
};

hid_t memory_type(ElementType type);

/// Makes the groups of `path` ("a/b/c") that aren't there, tracking creation order.
void make_groups(const File& file, const std::string& path);
/// Makes an array with its space allocated and not filled; a chunk shape makes it chunked with
/// Fletcher32 checksums, none contiguous. Makes the groups above it.
Dataset make_dataset(const File& file, const std::string& name, ElementType type,
                     const std::vector<std::int64_t>& shape,
                     const std::vector<std::int64_t>& chunk = {});
bool exists(const File& file, const std::string& name);
/// Names of the groups or of the arrays directly in a group, in alphabetical order; paths, relative
/// to it, of all that are `below`.
std::vector<std::string> list(const File& file, const std::string& group, H5O_type_t kind,
                              bool below = false);

/// A group or an array, to reach its attributes.
Handle open_object(const File& file, const std::string& name);
std::vector<std::string> attribute_names(hid_t object);
/// Of variable length, which Python reads as str.
void write_attribute(hid_t object, const std::string& name, const std::string& text);
/// Of fixed length, which Python reads as bytes. It lies in the object's own header, under HDF5's
/// checksum; damage to one of variable length crashes HDF5 1.10.
void write_fixed_text(hid_t object, const std::string& name, const std::string& text);
void write_attribute(hid_t object, const std::string& name,
                     const std::variant<std::int64_t, std::uint64_t, double>& number);
/// The texts of a text attribute (one if it is a scalar); none if there is no such attribute.
std::optional<std::vector<std::string>> read_texts(hid_t object, const std::string& name);
/// The first of them.
std::optional<std::string> read_text(hid_t object, const std::string& name);
std::optional<std::int64_t> read_integer(hid_t object, const std::string& name);
std::optional<std::uint64_t> read_unsigned(hid_t object, const std::string& name);
/// The numbers of a numeric attribute; none if there is no such attribute.
std::optional<std::vector<double>> read_numbers(hid_t object, const std::string& name);
/// The first of them, of the kind that it has in the file.
std::optional<Number> read_number(hid_t object, const std::string& name);
/// H5T_INTEGER, H5T_STRING, ...; H5T_NO_CLASS if there is no such attribute.
H5T_class_t attribute_class(hid_t object, const std::string& name);

}  // namespace stanley::hdf5
