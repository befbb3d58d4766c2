#include "run/directory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <optional>
#include <thread>
#include <vector>

#include "config/error.hpp"
#include "config/files.hpp"
#include "parallel/launcher.hpp"
#include "run/owner.hpp"
#include "run/unfinished.hpp"
#include "storage/descriptor.hpp"
#include "storage/folder.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

/// Writes a new file and brings it to the disk, or leaves none.
void write_new(const std::string& path, const std::string& text) {
  const Descriptor file(path, O_WRONLY | O_CREAT | O_EXCL, std::nothrow);
  int error = file.number() < 0 ? errno : write_whole(file.number(), text);
  if (error == 0) error = synchronise(file.number());
  if (error == 0) return;
  if (file.number() >= 0) ::unlink(path.c_str());
  throw FileError(fmt::format("{} can't be written ({})", path, system_reason(error)));
}

/// What replace_file() does, by this unfinished file.
void replace_by(const std::string& unfinished, const std::string& path, const std::string& text) {
  // What a killed process left goes; a link that somebody put there is not followed.
  ::unlink(unfinished.c_str());
  write_new(unfinished, text);
  std::error_code error;
  fs::rename(unfinished, path, error);
  if (error) {
    ::unlink(unfinished.c_str());
    throw FileError(fmt::format("{} can't be replaced ({})", path, error.message()));
  }
  const fs::path folder = fs::path(path).parent_path();
  synchronise_folder(folder.empty() ? "." : folder.string());
}

void make_directory(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || ::access(path.c_str(), W_OK) != 0) {
    throw FileError(
        fmt::format("the run directory {} can't be made or written ({}); choose another "
                    "with --run-directory",
                    path, error ? error.message() : std::strerror(errno)));
  }
}

/// A file that goes with this object, if it is still there.
class Passing {
 public:
  explicit Passing(std::string path) : path_(std::move(path)) {}
  ~Passing() { ::unlink(path_.c_str()); }
  Passing(const Passing&) = delete;
  Passing& operator=(const Passing&) = delete;

 private:
  std::string path_;
};

// How a directory changes hands. A claimant that finds the owner dead links its own, complete file
// to a name that belongs to this dead one's token; whatever the file system, one claimant only can
// make that link. The directory belongs to the last in the line that starts at the owner file and
// goes on from each to its successor; the last one renames its file to the owner file and removes
// the rest of the line. A claimant that was killed in between stands in the line as a dead owner.
// One that was slow, and made its link after the line was gone, finds itself in no line.

std::string owner_file(const std::string& directory) { return RunDirectory(directory).owner(); }

/// Of a claim; with the mark of what is unfinished (checkpoint.hpp), for whoever cleans up.
std::string claim_file(const std::string& directory, const std::string& name) {
  return directory + "/owner-" + name + ".part";
}

std::string successor_file(const std::string& directory, const Owner& owner) {
  return claim_file(directory, "after-" + owner.token);
}

struct Holder {
  std::string file;
  Owner owner;
};

/// The line.
std::vector<Holder> holders_of(const std::string& directory) {
  std::vector<Holder> holders;
  std::string file = owner_file(directory);
  // A line that bites its own tail can only be made by hand.
  while (holders.size() < 100) {
    auto owner = read_owner(file);
    if (!owner) break;
    holders.push_back({file, *owner});
    file = successor_file(directory, *owner);
  }
  return holders;
}

[[noreturn]] void refuse(const std::string& directory, const Owner& owner, double now) {
  if (owner.error != 0) {
    throw FileError(
        fmt::format("{} can't be read ({}), so that the run directory may be in use; "
                    "choose another with --run-directory, or add --take-over if no run "
                    "uses it",
                    owner_file(directory), std::strerror(owner.error)));
  }
  throw FileError(fmt::format(
      "the run directory {} is in use by process {} on {}{}, whose last heartbeat was "
      "{:.0f} s ago; wait for it, choose another with --run-directory, or add "
      "--take-over if that run is surely dead",
      directory, owner.process, owner.host, owner.job.empty() ? "" : ", job " + owner.job,
      std::max(0.0, now - owner.heartbeat)));
}

[[noreturn]] void cannot_be_made(const std::string& file, const std::string& candidate, int error) {
  throw FileError(
      fmt::format("{} can't be made of {} ({}); choose another directory with "
                  "--run-directory",
                  file, candidate, std::strerror(error)));
}

[[noreturn]] void taken_by_another(const std::string& directory) {
  throw FileError(
      fmt::format("another run has taken the run directory {}, or its owner.json was "
                  "removed or changed by hand; this one stops and leaves it alone",
                  directory));
}

/// One attempt to be the next holder after `holders`; false if somebody else was faster.
bool succeed(const std::string& directory, const std::vector<Holder>& holders,
             const std::string& candidate, const std::string& token) {
  const std::string place =
      holders.empty() ? owner_file(directory) : successor_file(directory, holders.back().owner);
  if (::link(candidate.c_str(), place.c_str()) != 0) {
    if (errno != EEXIST) cannot_be_made(place, candidate, errno);
    return false;
  }
  if (holders.empty()) return true;
  const std::vector<Holder> line = holders_of(directory);
  const auto here = std::ranges::find(
      line, token, [](const Holder& holder) -> const std::string& { return holder.owner.token; });
  if (here == line.end() || here + 1 != line.end()) {
    ::unlink(place.c_str());
    if (here != line.end()) taken_by_another(directory);
    return false;
  }
  if (::rename(candidate.c_str(), owner_file(directory).c_str()) != 0) {
    const int error = errno;
    ::unlink(place.c_str());
    cannot_be_made(owner_file(directory), candidate, error);
  }
  for (std::size_t i = 1; i < line.size(); ++i) ::unlink(line[i].file.c_str());
  return true;
}

/// What claimants left that were killed.
void remove_dead_claims(const std::string& directory, const Claim& claim, double now) {
  for (const std::string& file : files_in(directory)) {
    const std::string name = fs::path(file).filename().string();
    if (!name.starts_with("owner-") || !name.ends_with(".part")) continue;
    const auto claimant = read_owner(file);
    if (!claimant) continue;
    // Without a word in it, the file has just been made or belongs to a claimant that was killed.
    const bool left_empty = claimant->host.empty() && now - claimant->heartbeat > 5;
    if (left_empty || gone(*claimant, claim, now)) ::unlink(file.c_str());
  }
}

/// By the clock that heartbeats in the directory are read from; by this host's where nothing may be
/// written.
double time_of_server(const std::string& directory) {
  const std::string file = claim_file(directory, "now-" + process_token());
  const Descriptor made(file, O_WRONLY | O_CREAT | O_EXCL, std::nothrow);
  if (made.number() < 0) return static_cast<double>(std::time(nullptr));
  const Passing removed_at_the_end(file);
  return read_owner(file).value_or(Owner{}).heartbeat;
}

/// The owner, read again for some seconds where a file server fails: only another's token, or no
/// file, means that the directory is lost.
std::optional<Owner> read_patiently(const std::string& path) {
  constexpr int attempts = 10;
  std::optional<Owner> owner;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    if (attempt > 0) std::this_thread::sleep_for(std::chrono::milliseconds(500));
    owner = read_owner(path);
    if (owner && owner->error == 0) return owner;
    if (!owner && attempt > 0) return owner;  // gone twice is gone
  }
  return owner;
}

}  // namespace

Claim claim_of_job() {
  const Environment environment = process_environment();
  const std::string restarts = value_of(environment, "SLURM_RESTART_COUNT");
  return {.job = value_of(environment, "SLURM_JOB_ID"),
          .cluster = value_of(environment, "SLURM_CLUSTER_NAME"),
          .restart_count = std::strtoll(restarts.c_str(), nullptr, 10)};
}

RunDirectory::~RunDirectory() {
  if (!owned()) return;
  std::error_code ignored;
  fs::remove(owner_file(path_), ignored);
}

void RunDirectory::take(const Claim& claim) {
  for (const std::string& path : {path_, samples(), checkpoints()}) make_directory(path);
  const Owner mine = this_process(claim);
  // Complete before it has its name: nobody ever sees an owner file without its owner.
  const std::string candidate = claim_file(path_, mine.token);
  replace_file(candidate, to_text(mine));
  const Passing removed_at_the_end(candidate);
  // The file server's clock: the clocks of two hosts can differ by more than a heartbeat.
  const double now = read_owner(candidate).value_or(Owner{}).heartbeat;
  std::vector<Holder> holders;
  // Whoever was too slow finds another owner, or none, the next time.
  for (int attempt = 0; attempt < 100; ++attempt) {
    holders = holders_of(path_);
    if (!holders.empty() && !claim.take_over && !dead(holders.back().owner, claim, now)) break;
    if (!succeed(path_, holders, candidate, mine.token)) continue;
    token_ = mine.token;
    remove_dead_claims(path_, claim, now);
    return;
  }
  refuse(path_, holders.empty() ? mine : holders.back().owner, now);
}

void RunDirectory::beat() const { touch_owner(owner_file(path_), token_); }

bool RunDirectory::occupied() const {
  const auto owner = read_owner(owner_file(path_));
  if (!owner) return false;
  const double here = static_cast<double>(std::time(nullptr));
  return !gone(*owner, Claim{}, in_sight(*owner) ? here : time_of_server(path_));
}

bool RunDirectory::owned() const {
  if (token_.empty()) return false;
  const auto owner = read_patiently(owner_file(path_));
  return owner && (owner->error != 0 || owner->token == token_);
}

void RunDirectory::check_ownership() const {
  const auto owner = token_.empty() ? std::nullopt : read_patiently(owner_file(path_));
  if (!owner) taken_by_another(path_);
  if (owner->error != 0) {
    throw FileError(
        fmt::format("{} can't be read ({})", owner_file(path_), std::strerror(owner->error)));
  }
  if (owner->token != token_) taken_by_another(path_);
}

void replace_file(const std::string& path, const std::string& text) {
  replace_by(path + ".part", path, text);
}

void replace_shared_file(const std::string& path, const std::string& text) {
  remove_abandoned(path);
  replace_by(path + ".part." + process_token(), path, text);
}

std::string read_text(const std::string& path) {
  std::error_code ignored;
  // Opening a pipe would wait for whoever writes into it.
  return fs::is_regular_file(path, ignored) ? read_file(path).value_or("") : "";
}

}  // namespace stanley
