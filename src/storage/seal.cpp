#include "storage/seal.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "config/error.hpp"
#include "storage/descriptor.hpp"
#include "storage/digest.hpp"
#include "storage/hdf5.hpp"

namespace stanley {
namespace {

constexpr std::array<char, 8> mark{'S', 'T', 'A', 'N', 'L', 'E', 'Y', '1'};
/// No file of ours comes near: a nonsensical number must not ask for memory.
constexpr std::uint64_t most_extents = std::uint64_t{1} << 24;
constexpr std::size_t digested_at_once = std::size_t{4} << 20;

/// Bytes of a file: where they begin, how many.
struct Extent {
  std::uint64_t first{0};
  std::uint64_t bytes{0};
};

/// What stands at a file's end.
struct Ending {
  std::uint64_t extents{0};
  std::uint64_t digest{0};
  std::array<char, 8> mark{};
};

/// Reads from a file at given places.
class Reader {
 public:
  explicit Reader(const std::string& path)
      : path_(path), size_(size_of(path)), file_(path, O_RDONLY) {}
  std::uint64_t size() const { return size_; }
  void read(std::uint64_t first, void* data, std::size_t bytes) const {
    auto* to = static_cast<char*>(data);
    while (bytes > 0) {
      const ssize_t got = ::pread(file_.number(), to, bytes, static_cast<off_t>(first));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(path_, std::strerror(errno));
      if (got == 0) throw FileError(path_ + " became shorter meanwhile");
      to += got;
      first += static_cast<std::uint64_t>(got);
      bytes -= static_cast<std::size_t>(got);
    }
  }

 private:
  /// Looks before it opens: a pipe would wait for a writer.
  static std::uint64_t size_of(const std::string& path) {
    struct stat state {};
    if (::stat(path.c_str(), &state) != 0) fail(path, std::strerror(errno));
    if (!S_ISREG(state.st_mode)) fail(path, "it is no regular file");
    return static_cast<std::uint64_t>(state.st_size);
  }

  [[noreturn]] static void fail(const std::string& path, const std::string& reason) {
    throw FileError("cannot read " + path + ": " + reason);
  }

  std::string path_;
  std::uint64_t size_;
  Descriptor file_;
};

void add_extents(std::vector<Extent>& extents, const hdf5::Dataset& array) {
  const auto describe = [&] { return "read where array '" + array.name() + "' lies"; };
  const hdf5::Handle creation(H5Dget_create_plist(array.id()), H5Pclose);
  if (H5Pget_layout(creation.id()) != H5D_CHUNKED) {
    const haddr_t first = H5Dget_offset(array.id());
    if (first != HADDR_UNDEF) extents.push_back({first, H5Dget_storage_size(array.id())});
    return;
  }
  const hdf5::Handle space(H5Dget_space(array.id()), H5Sclose);
  hsize_t chunks = 0;
  hdf5::check(H5Dget_num_chunks(array.id(), space.id(), &chunks), describe);
  std::vector<hsize_t> place(array.shape().size());
  for (hsize_t i = 0; i < chunks; ++i) {
    haddr_t first = 0;
    hsize_t bytes = 0;
    unsigned filters = 0;
    hdf5::check(
        H5Dget_chunk_info(array.id(), space.id(), i, place.data(), &filters, &first, &bytes),
        describe);
    extents.push_back({first, bytes});
  }
}

/// Where the values of the arrays that have digests of their own lie: beside a checkpoint's
/// /digests, or in an attribute.
std::vector<Extent> digested_extents(const std::string& path) {
  const auto file = hdf5::File::open(path, hdf5::Mode::read);
  std::vector<Extent> extents;
  const bool checkpoint = hdf5::exists(file, "digests");
  for (const auto& name : hdf5::list(file, checkpoint ? "digests" : "/", H5O_TYPE_DATASET, true)) {
    const hdf5::Dataset array(file, name);
    if (checkpoint || H5Aexists(array.id(), "digest") > 0) add_extents(extents, array);
  }
  std::erase_if(extents, [](const Extent& extent) { return extent.bytes == 0; });
  std::ranges::sort(extents, {}, &Extent::first);
  return extents;
}

/// The digest of the first `end` bytes beside the extents, and of the extents; none if these don't
/// lie there one after the other.
std::optional<std::uint64_t> digest_beside(const Reader& file, std::uint64_t end,
                                           const std::vector<Extent>& extents) {
  PartDigester whole(std::numeric_limits<std::size_t>::max());
  std::vector<char> buffer;
  const auto add = [&](std::uint64_t from, std::uint64_t to) {
    while (from < to) {
      buffer.resize(std::min<std::uint64_t>(digested_at_once, to - from));
      file.read(from, buffer.data(), buffer.size());
      whole.feed(std::as_bytes(std::span(buffer)));
      from += buffer.size();
    }
  };
  std::uint64_t place = 0;
  for (const Extent& extent : extents) {
    if (extent.first < place || extent.bytes > end || extent.first > end - extent.bytes) {
      return std::nullopt;
    }
    add(place, extent.first);
    place = extent.first + extent.bytes;
  }
  add(place, end);
  const std::uint64_t count = extents.size();
  whole.feed(std::as_bytes(std::span(extents)));
  whole.feed(std::as_bytes(std::span(&count, 1)));
  return whole.digests().at(0);
}

}  // namespace

void seal(const std::string& path) {
  const std::vector<Extent> extents = digested_extents(path);
  const Reader file(path);
  const Ending ending{extents.size(), digest_beside(file, file.size(), extents).value(), mark};
  std::string text(reinterpret_cast<const char*>(extents.data()), extents.size() * sizeof(Extent));
  text.append(reinterpret_cast<const char*>(&ending), sizeof(ending));
  const Descriptor out(path, O_WRONLY | O_APPEND);
  const int error = write_whole(out.number(), text);
  if (error == 0) return;
  throw FileError("cannot write " + path + ": " + system_reason(error));
}

Seal check_seal(const std::string& path) {
  const Reader file(path);
  Ending ending;
  if (file.size() < sizeof(ending)) return Seal::none;
  file.read(file.size() - sizeof(ending), &ending, sizeof(ending));
  if (ending.mark != mark) return Seal::none;
  const std::uint64_t before = file.size() - sizeof(ending);
  if (ending.extents > most_extents || ending.extents > before / sizeof(Extent)) {
    return Seal::broken;
  }
  std::vector<Extent> extents(ending.extents);
  const std::uint64_t end = before - extents.size() * sizeof(Extent);
  file.read(end, extents.data(), extents.size() * sizeof(Extent));
  return digest_beside(file, end, extents) == ending.digest ? Seal::whole : Seal::broken;
}

std::string seal_problem(Seal seal, const std::string& schema_version) {
  if (seal == Seal::broken) {
    return "its seal doesn't agree with what describes its arrays (names, shapes, attributes, "
           "dimension scales, ...)";
  }
  if (seal == Seal::none && !schema_version.empty() && schema_version != "1.0") {
    return "it doesn't end with its seal: it is truncated, or another program has changed it (if "
           "that was meant, set its attribute schema_version to \"1.0\": then no seal is asked "
           "for)";
  }
  return "";
}

}  // namespace stanley
