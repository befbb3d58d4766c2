#include "storage/hdf5.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "config/error.hpp"
#include "parallel/mpi_handle.hpp"
#include "storage/hdf5_versions.hpp"

namespace stanley::hdf5 {
namespace {

/// HDF5 prints its stack of errors unless told otherwise; ours go out as one sentence.
void silence() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

herr_t keep_innermost(unsigned, const H5E_error2_t* error, void* reason) {
  auto& text = *static_cast<std::string*>(reason);
  if (text.empty() && error->desc != nullptr) text = error->desc;
  return 0;
}

/// The system's own words where HDF5 quotes them, else HDF5's innermost description.
std::string innermost_reason() {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &reason);
  const std::string quote = "error message = '";
  if (const auto begin = reason.find(quote); begin != std::string::npos) {
    const auto start = begin + quote.size();
    return reason.substr(start, reason.find('\'', start) - start);
  }
  return reason;
}

Handle access_properties(const std::string& path, Mode mode) {
  silence();
  Handle properties(check(H5Pcreate(H5P_FILE_ACCESS), [&] { return "open " + path; }), H5Pclose);
  // 1.8's formats: object headers carry checksums, and every reader in use knows them. What others
  // wrote is read in whatever format the library knows.
  H5Pset_libver_bounds(properties.id(), H5F_LIBVER_V18,
                       mode == Mode::write ? H5F_LIBVER_V18 : H5F_LIBVER_LATEST);
  H5Pset_fclose_degree(properties.id(), H5F_CLOSE_STRONG);
  // File servers without locks refuse HDF5's. The owner file keeps a second writer out, and nothing
  // is read before it has its final name.
#if H5_VERSION_GE(1, 12, 1) || (H5_VERSION_GE(1, 10, 7) && !H5_VERSION_GE(1, 12, 0))
  H5Pset_file_locking(properties.id(), false, true);
#endif
  return properties;
}

/// How groups are made, the root group too.
void describe_group(hid_t creation) {
  // netCDF lists dimensions and variables in the order in which they were made.
  H5Pset_link_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  // However many links and attributes there are, they lie in the group's own header, under HDF5's
  // checksum: where they lie apart, HDF5 1.10 crashes when it lists a group with a damaged byte.
  constexpr unsigned most = 65535;
  H5Pset_link_phase_change(creation, most, most);
  H5Pset_attr_phase_change(creation, most, most);
}

std::vector<std::int64_t> shape_of(hid_t dataset) {
  const Handle space(H5Dget_space(dataset), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space.id());
  std::vector<hsize_t> dimensions(rank > 0 ? static_cast<std::size_t>(rank) : 0);
  if (rank > 0) H5Sget_simple_extent_dims(space.id(), dimensions.data(), nullptr);
  return {dimensions.begin(), dimensions.end()};
}

hid_t file_type(ElementType type) {
  const std::array types{H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_STD_I32LE,
                         H5T_STD_I64LE,  H5T_STD_U8LE,   H5T_STD_U64LE};
  return types.at(static_cast<std::size_t>(type));
}

/// Has MPI-IO open the file, with these hints.
herr_t use_mpi_io(hid_t access, const Communicator& communicator,
                  const std::map<std::string, std::string>& hints) {
  MPI_Info info = MPI_INFO_NULL;
  if (!hints.empty()) check_mpi(MPI_Info_create(&info), "MPI_Info_create");
  for (const auto& [key, value] : hints) {
    check_mpi(MPI_Info_set(info, key.c_str(), value.c_str()), "MPI_Info_set");
  }
  const herr_t status = H5Pset_fapl_mpio(access, mpi_communicator(communicator), info);
  if (info != MPI_INFO_NULL) MPI_Info_free(&info);  // HDF5 has a copy
  return status;
}

}  // namespace

void fail(const std::string& action) {
  const std::string reason = innermost_reason();
  throw FileError("cannot " + action + (reason.empty() ? std::string() : ": " + reason));
}

File File::create(const std::string& path) {
  const Handle access = access_properties(path, Mode::write);
  const Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  describe_group(creation.id());
  const hid_t id = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.id(), access.id());
  return File(Handle(check(id, [&] { return "create " + path; }), H5Fclose), path);
}

File File::open(const std::string& path, Mode mode) {
  struct stat state {};
  const bool is_there = ::stat(path.c_str(), &state) == 0;
  std::error_code ignored;
  if (!is_there && errno == ENOENT && !path.starts_with('/')) {
    throw FileError("cannot open " + path + ": No such file or directory in " +
                    std::filesystem::current_path(ignored).string());
  }
  // HDF5 would wait for whoever writes into a pipe.
  if (is_there && !S_ISREG(state.st_mode)) {
    throw FileError("cannot open " + path + ": it is no regular file");
  }
  const Handle access = access_properties(path, mode);
  const hid_t id =
      H5Fopen(path.c_str(), mode == Mode::write ? H5F_ACC_RDWR : H5F_ACC_RDONLY, access.id());
  return File(Handle(check(id, [&] { return "open " + path; }), H5Fclose), path);
}

File File::open_shared(Communicator& communicator, const std::string& path, Mode mode,
                       const std::map<std::string, std::string>& hints) {
  if (communicator.size() == 1) return open(path, mode);
  const Handle access = access_properties(path, mode);
  const auto describe = [&] {
    // Open MPI's MPI-IO shares memory, and calls its lack "other".
    const bool shares = ::access("/dev/shm", W_OK) == 0;
    return "open " + path + " with MPI-IO" +
           (shares ? "" : " (/dev/shm, which MPI needs, can't be written)");
  };
  check(use_mpi_io(access.id(), communicator, hints), describe);
  if (mode == Mode::write) check(H5Pset_coll_metadata_write(access.id(), true), describe);
  // One rank reads what describes the file and tells the others.
  if (mode == Mode::read) check(H5Pset_all_coll_metadata_ops(access.id(), true), describe);
  const hid_t id =
      H5Fopen(path.c_str(), mode == Mode::write ? H5F_ACC_RDWR : H5F_ACC_RDONLY, access.id());
  // Closing is collective: where an error unwinds one rank the others are elsewhere, and the file
  // stays open until all ranks are ended.
  return File(Handle(check(id, describe), nullptr), path);
}

void File::flush() {
  check(H5Fflush(id(), H5F_SCOPE_GLOBAL), [&] { return "write " + path_; });
}

void File::close() {
  check(H5Fclose(handle_.release()), [&] { return "close " + path_; });
}

Dataset::Dataset(const File& file, const std::string& name)
    : Dataset(Handle(check(H5Dopen2(file.id(), name.c_str(), H5P_DEFAULT),
                           [&] { return "read array '" + name + "' of " + file.path(); }),
                     H5Dclose),
              file, name) {}

Dataset::Dataset(Handle handle, const File& file, std::string name)
    : handle_(std::move(handle)),
      name_(std::move(name)),
      file_(file.path()),
      shape_(shape_of(handle_.id())) {}

std::string Dataset::described() const { return "array '" + name_ + "' of " + file_; }

ElementType Dataset::type() const {
  const Handle type(H5Dget_type(id()), H5Tclose);
  for (const auto known : {ElementType::float32, ElementType::float64, ElementType::int32,
                           ElementType::int64, ElementType::uint8, ElementType::uint64}) {
    if (H5Tequal(type.id(), file_type(known)) > 0) return known;
  }
  throw FileError(described() + " is of type " + type_text() + ", which this program doesn't read");
}

void Dataset::check_space() const {
  const auto held = static_cast<std::int64_t>(H5Dget_storage_size(id()));
  if (held == total_bytes(element_bytes(type()), shape_)) return;
  throw FileError(described() + " is of shape " + shape_text(shape_) + " but holds " +
                  std::to_string(held) + " bytes");
}

void Dataset::require_values() const {
  const auto needed = total_bytes(sizeof(double), shape_);
  const std::string array = described() + " is of shape " + shape_text(shape_);
  if (!needed) throw FileError(array + ", which no memory holds");
  if (*needed == 0 || H5Dget_storage_size(id()) > 0) return;
  throw FileError(array + " and was never written");
}

H5T_class_t Dataset::type_class() const {
  const Handle type(H5Dget_type(id()), H5Tclose);
  return H5Tget_class(type.id());
}

void Dataset::write_all(const void* data) {
  check(H5Dwrite(id(), memory_type(type()), H5S_ALL, H5S_ALL, H5P_DEFAULT, data),
        [&] { return "write " + described(); });
}

void Dataset::read_all(void* data) const {
  check(H5Dread(id(), memory_type(type()), H5S_ALL, H5S_ALL, H5P_DEFAULT, data),
        [&] { return "read " + described(); });
}

std::string Dataset::type_text() const {
  const Handle stored(H5Dget_type(id()), H5Tclose);
  const hid_t type = stored.id();
  const std::size_t bytes = H5Tget_size(type);
  const std::string bits = std::to_string(8 * bytes);
  const std::string order =
      bytes > 1 && H5Tget_order(type) == H5T_ORDER_BE ? "big-endian " : std::string();
  switch (H5Tget_class(type)) {
    case H5T_INTEGER:
      return order + (H5Tget_sign(type) == H5T_SGN_NONE ? "uint" : "int") + bits;
    case H5T_FLOAT:
      return order + "float" + bits;
    case H5T_STRING:
      return "text";
    default:
      return "of no type that is a number";
  }
}

hid_t memory_type(ElementType type) {
  const std::array types{H5T_NATIVE_FLOAT, H5T_NATIVE_DOUBLE, H5T_NATIVE_INT32,
                         H5T_NATIVE_INT64, H5T_NATIVE_UINT8,  H5T_NATIVE_UINT64};
  return types.at(static_cast<std::size_t>(type));
}

void make_groups(const File& file, const std::string& path) {
  const Handle creation(H5Pcreate(H5P_GROUP_CREATE), H5Pclose);
  describe_group(creation.id());
  for (std::size_t end = 0; end != std::string::npos;) {
    end = path.find('/', end + 1);
    const std::string group = path.substr(0, end);
    if (group.empty() || exists(file, group)) continue;
    const Handle made(
        check(H5Gcreate2(file.id(), group.c_str(), H5P_DEFAULT, creation.id(), H5P_DEFAULT),
              [&] { return "create group '" + group + "' in " + file.path(); }),
        H5Gclose);
  }
}

Dataset make_dataset(const File& file, const std::string& name, ElementType type,
                     const std::vector<std::int64_t>& shape,
                     const std::vector<std::int64_t>& chunk) {
  const auto describe = [&] { return "create array '" + name + "' in " + file.path(); };
  if (const auto slash = name.rfind('/'); slash != std::string::npos) {
    make_groups(file, name.substr(0, slash));
  }
  const Handle creation(check(H5Pcreate(H5P_DATASET_CREATE), describe), H5Pclose);
  // Late allocation would leave it to the ranks' first write, which hangs in HDF5 1.10.
  check(H5Pset_alloc_time(creation.id(), H5D_ALLOC_TIME_EARLY), describe);
  check(H5Pset_fill_time(creation.id(), H5D_FILL_TIME_NEVER), describe);
  if (!chunk.empty()) {
    const std::vector<hsize_t> extents(chunk.begin(), chunk.end());
    check(H5Pset_chunk(creation.id(), static_cast<int>(extents.size()), extents.data()), describe);
    check(H5Pset_fletcher32(creation.id()), describe);
  }
  const std::vector<hsize_t> extents(shape.begin(), shape.end());
  const Handle space(check(extents.empty() ? H5Screate(H5S_SCALAR)
                                           : H5Screate_simple(static_cast<int>(extents.size()),
                                                              extents.data(), nullptr),
                           describe),
                     H5Sclose);
  Handle dataset(check(H5Dcreate2(file.id(), name.c_str(), file_type(type), space.id(), H5P_DEFAULT,
                                  creation.id(), H5P_DEFAULT),
                       describe),
                 H5Dclose);
  return Dataset(std::move(dataset), file, name);
}

bool exists(const File& file, const std::string& name) {
  return H5Lexists(file.id(), name.c_str(), H5P_DEFAULT) > 0;
}

namespace {

struct Visit {
  std::vector<std::string> names{};
  H5O_type_t kind{};
};

herr_t visit(hid_t group, const char* name, const LinkInfo* link, void* state) {
  auto& found = *static_cast<Visit*>(state);
  ObjectInfo info;
  if (get_object_info(group, name, &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0) {
    return link->type == H5L_TYPE_HARD ? -1 : 0;  // a path may lead nowhere
  }
  if (info.type == found.kind) found.names.emplace_back(name);
  return 0;
}

}  // namespace

std::vector<std::string> list(const File& file, const std::string& group, H5O_type_t kind,
                              bool below) {
  Visit found{.kind = kind};
  check(below ? visit_links(file.id(), group.c_str(), H5_INDEX_NAME, H5_ITER_INC, visit, &found,
                            H5P_DEFAULT)
              : iterate_links(file.id(), group.c_str(), H5_INDEX_NAME, H5_ITER_INC, nullptr, visit,
                              &found, H5P_DEFAULT),
        [&] { return "list group '" + group + "' of " + file.path(); });
  return found.names;
}

}  // namespace stanley::hdf5
