#include "storage/commit.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <span>

#include "parallel/agree.hpp"
#include "storage/descriptor.hpp"
#include "storage/folder.hpp"
#include "storage/hdf5.hpp"
#include "storage/seal.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

/// Room for what describes the arrays: names, coordinates, texts.
constexpr std::int64_t description_bytes = 256 << 10;

std::string directory_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

/// Has the file system take `bytes` for a file; where it can't, looks whether so many are free and
/// only sets the length: posix_fallocate would write every block through this one rank instead.
int allocate(int file, std::int64_t bytes) {
  if (::fallocate(file, 0, 0, bytes) == 0) return 0;
  if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL) return errno;
  struct statvfs system {};
  if (::fstatvfs(file, &system) != 0) return errno;
  const auto free = static_cast<double>(system.f_bavail) * static_cast<double>(system.f_frsize);
  struct stat state {};
  if (::fstat(file, &state) != 0) return errno;
  const auto taken = static_cast<double>(state.st_blocks) * 512;
  if (static_cast<double>(bytes) - taken > free) return ENOSPC;
  if (state.st_size >= bytes) return 0;
  return ::ftruncate(file, bytes) == 0 ? 0 : errno;
}

/// Takes `bytes` of the disk for the file, so that no later write can find it full.
void reserve(const std::string& part, const std::string& path, std::int64_t bytes) {
  const Descriptor file(part, O_RDWR | O_CREAT);
  const int status = allocate(file.number(), std::max<std::int64_t>(bytes, 1));
  if (status == 0) return;
  const bool full = status == ENOSPC || status == EDQUOT || status == EFBIG;
  const std::string megabytes = std::to_string((bytes + 999999) / 1000000);
  throw FileError(full ? "no space: " + path + " needs " + megabytes + " MB in " +
                             directory_of(path) + " (" + std::strerror(status) + ")"
                       : "cannot reserve space for " + path + ": " + system_reason(status));
}

void create_part(const FileRequest& request, const std::string& part) {
  // Before HDF5 sees the file: it can't let go of one that it failed to write.
  reserve(part, request.path, request.bytes + description_bytes);
  hdf5::File file = hdf5::File::create(part);
  request.create(file);
  file.close();
  struct stat state {};
  if (::stat(part.c_str(), &state) != 0) {
    throw FileError("cannot read " + part + ": " + system_reason(errno));
  }
  reserve(part, request.path, state.st_size);
}

/// Sends what is written on its way to the disk while more is written, so that the flush at the end
/// finds little left.
class EarlyWriteback {
 public:
  explicit EarlyWriteback(const std::string& path) : path_(path), file_(path, O_RDWR) {}
  /// Advice: what fails here, finish() tells.
  void start() const { ::sync_file_range(file_.number(), 0, 0, SYNC_FILE_RANGE_WRITE); }
  /// Waits for it piece by piece, since a flush of the whole file would say nothing for minutes;
  /// and before MPI does the same, which has no words for what the system says.
  void finish(const Progressed& progressed) const {
    constexpr off64_t piece = off64_t{64} << 20;
    struct stat state {};
    const off64_t size = ::fstat(file_.number(), &state) == 0 ? state.st_size : 0;
    for (off64_t at = 0; at < size; at += piece) {
      ::sync_file_range(
          file_.number(), at, piece,
          SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
      if (progressed) progressed();
    }
    bring_to_disk(file_.number(), path_);
    // What this host still holds in memory would be read back from there, whatever became of it.
    ::posix_fadvise(file_.number(), 0, 0, POSIX_FADV_DONTNEED);
  }

 private:
  std::string path_;
  Descriptor file_;
};

/// A shared file that only one host sees would leave the others in MPI's hands.
void open_everywhere(const std::string& part, std::optional<EarlyWriteback>& file) {
  try {
    file.emplace(part);
  } catch (const Error& error) {
    throw Error(error.code, std::string(error.what()) +
                                "; all ranks must see the run directory under the same name");
  }
}

/// Removes `from` where it fails.
void rename_to(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) == 0) return;
  const int error = errno;
  ::unlink(from.c_str());
  throw FileError("cannot rename " + from + " to " + to + ": " + system_reason(error));
}

void publish(const FileRequest& request, const FileOptions& options, const std::string& part) {
  const auto check = [&] {
    if (options.before_rename) options.before_rename();
  };
  bring_to_disk(Descriptor(part, O_RDWR).number(), part);
  check();  // again below: a disk may take its time in between
  rename_to(part, request.path);
  synchronise_folder(directory_of(request.path));
  for (const std::string& link : request.links) {
    check();
    move_link(link, request.path, options.job);
  }
}

/// in_collective() that leaves no unfinished file behind where it ends all ranks.
void in_collective_on(const std::string& part, Communicator& communicator,
                      const FileOptions& options, const std::function<void()>& step) {
  in_collective(communicator, options, [&] {
    try {
      step();
    } catch (...) {
      ::unlink(part.c_str());
      throw;
    }
  });
}

void write_part(Communicator& communicator, const FileRequest& request, const FileOptions& options,
                const std::string& part) {
  on_first_rank(communicator, [&] { create_part(request, part); });
  std::optional<EarlyWriteback> writeback;
  agree(communicator, [&] { open_everywhere(part, writeback); });
  in_collective_on(part, communicator, options, [&] {
    auto file = hdf5::File::open_shared(communicator, part, hdf5::Mode::write, options.hints);
    request.write(file, [&] {
      writeback->start();
      if (options.progressed) options.progressed();
    });
    writeback->finish(options.progressed);
    file.flush();
    file.close();
  });
  // No rank looks at the file before all have let it go.
  communicator.barrier();
  on_first_rank(communicator, [&] { seal(part); });
}

void verify_part(Communicator& communicator, const FileRequest& request, const FileOptions& options,
                 const std::string& part) {
  std::optional<std::string> wrong;
  in_collective_on(part, communicator, options, [&] {
    auto file = hdf5::File::open_shared(communicator, part, hdf5::Mode::read, options.hints);
    wrong = request.verify(file, options.progressed);
    file.close();
  });
  agree(communicator, [&] {
    if (communicator.rank() == 0) {
      if (!wrong && request.verify_created) {
        wrong = request.verify_created(hdf5::File::open(part, hdf5::Mode::read));
      }
      if (!wrong && check_seal(part) != Seal::whole) wrong = "what describes its arrays differs";
    }
    if (!wrong) return;
    throw FileError(request.path + " did not read back as it was written: " + *wrong +
                    "; the file system or its driver lost a write");
  });
}

}  // namespace

void move_link(const std::string& link, const std::string& path, const std::string& job) {
  const std::string folder = directory_of(path), name = folder + "/" + link;
  const std::string part = name + ".part." + job;
  std::error_code failure;
  fs::remove(part, failure);
  fs::create_symlink(fs::path(path).filename(), part, failure);
  if (failure) {
    throw FileError("cannot make the link " + part + ": " + failure.message());
  }
  rename_to(part, name);
  synchronise_folder(folder);
}

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

void in_collective(Communicator& communicator, const FileOptions& options,
                   const std::function<void()>& step) {
  try {
    step();
  } catch (const std::exception& exception) {
    Error error = as_error(exception);
    if (error.agreed || communicator.size() == 1) throw error;
    error.rank = communicator.rank();
    if (options.on_abort) {
      options.on_abort(error);
    } else {
      std::fprintf(stderr, "stanley: %s\n", error.what());
    }
    communicator.abort(error.code);
  }
}

CommitReport commit(Communicator& communicator, const FileRequest& request,
                    const FileOptions& options) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  CommitReport report{.path = request.path};
  const std::string part = request.path + ".part." + options.job;
  try {
    write_part(communicator, request, options, part);
    report.write_seconds = seconds();
    verify_part(communicator, request, options, part);
    on_first_rank(communicator, [&] { publish(request, options, part); });
  } catch (...) {
    if (communicator.rank() == 0) ::unlink(part.c_str());
    throw;
  }
  on_first_rank(communicator, [&] {
    report.bytes = static_cast<std::int64_t>(fs::file_size(request.path));
    if (options.retention) options.retention();
  });
  communicator.sum(std::span(&report.bytes, 1));
  report.seconds = seconds();
  return report;
}

}  // namespace stanley
