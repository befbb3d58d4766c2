#include "run/directory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "config/error.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

/// When a process of this host started, in clock ticks since boot, so that a process number that
/// is used again is not taken for the old owner; empty if there is no such process.
std::string process_start(long process) {
  const std::string text = read_text(fmt::format("/proc/{}/stat", process));
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  fields >> field;
  // A zombie has ended; only its parent hasn't asked how.
  if (field == "Z" || field == "X") return {};
  for (int i = 1; i < 20; ++i) fields >> field;
  return field;
}

/// What an owner file says; an empty object if it is broken.
nlohmann::json read_owner(const std::string& path) {
  auto owner = nlohmann::json::parse(read_text(path), nullptr, false);
  return owner.is_object() ? owner : nlohmann::json::object();
}

std::string text_of(const nlohmann::json& owner, const char* key) {
  const auto found = owner.find(key);
  return found != owner.end() && found->is_string() ? found->get<std::string>() : "";
}

long process_of(const nlohmann::json& owner) {
  const auto found = owner.find("process");
  return found != owner.end() && found->is_number_integer() ? found->get<long>() : 0;
}

bool alive(const nlohmann::json& owner, const std::string& job) {
  const std::string owner_job = text_of(owner, "job");
  if (!owner_job.empty() && owner_job == job) return false;
  const std::string host = text_of(owner, "host");
  // A file that was cut off in its making names nobody.
  if (host.empty()) return false;
  if (host != host_name()) return true;
  const std::string start = process_start(process_of(owner));
  return !start.empty() && start == text_of(owner, "process_start");
}

void write_all(int descriptor, const std::string& text, const std::string& path) {
  const ssize_t written = ::write(descriptor, text.data(), text.size());
  const bool synced = written == static_cast<ssize_t>(text.size()) && ::fsync(descriptor) == 0;
  const int error = errno;
  ::close(descriptor);
  if (!synced) {
    ::unlink(path.c_str());
    throw Error(ExitCode::input_output, fmt::format("{} can't be written ({}); free some space",
                                                    path, std::strerror(error)));
  }
}

void make_directory(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || ::access(path.c_str(), W_OK) != 0) {
    throw Error(ExitCode::input_output,
                fmt::format("the run directory {} can't be made or written ({}); choose another "
                            "with --run-directory",
                            path, error ? error.message() : std::strerror(errno)));
  }
}

}  // namespace

RunDirectory::~RunDirectory() {
  if (token_.empty() || !owned()) return;
  std::error_code ignored;
  fs::remove(owner_path(), ignored);
}

void RunDirectory::take(const std::string& job) {
  for (const std::string& path : {path_, samples(), checkpoints()}) make_directory(path);
  const std::string start = process_start(getpid());
  const std::string token = fmt::format("{}-{}-{}", host_name(), getpid(), start);
  const nlohmann::json mine{{"token", token},      {"host", host_name()},
                            {"process", getpid()}, {"process_start", start},
                            {"job", job},          {"since", std::time(nullptr)}};
  // Complete before it has its name: nobody ever sees an owner file without its owner.
  const std::string candidate = path_ + "/owner-" + token + ".part";
  replace_file(candidate, mine.dump(2) + '\n');
  int error = 0;
  for (int attempt = 0; attempt < 2 && token_.empty(); ++attempt) {
    if (::link(candidate.c_str(), owner_path().c_str()) == 0) {
      token_ = token;
    } else if ((error = errno) == EEXIST && !alive(read_owner(owner_path()), job)) {
      ::unlink(owner_path().c_str());
    }
  }
  ::unlink(candidate.c_str());
  if (!token_.empty()) return;
  const nlohmann::json owner = read_owner(owner_path());
  if (error == EEXIST) {
    throw Error(ExitCode::input_output,
                fmt::format("the run directory {} is in use by process {} on {}; wait for it, "
                            "choose another with --run-directory, or remove {} if that run is "
                            "surely dead",
                            path_, process_of(owner), text_of(owner, "host"), owner_path()));
  }
  throw Error(ExitCode::input_output, fmt::format("{} can't be made ({}); choose another directory "
                                                  "with --run-directory",
                                                  owner_path(), std::strerror(error)));
}

bool RunDirectory::owned() const { return text_of(read_owner(owner_path()), "token") == token_; }

void RunDirectory::check_ownership() const {
  if (owned()) return;
  throw Error(ExitCode::input_output,
              fmt::format("another run has taken the run directory {}; this one stops and leaves "
                          "it alone",
                          path_));
}

void replace_file(const std::string& path, const std::string& text) {
  const std::string unfinished = path + ".part";
  const int descriptor = ::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) {
    throw Error(ExitCode::input_output,
                fmt::format("{} can't be written ({})", unfinished, std::strerror(errno)));
  }
  write_all(descriptor, text, unfinished);
  std::error_code error;
  fs::rename(unfinished, path, error);
  if (error) {
    throw Error(ExitCode::input_output,
                fmt::format("{} can't be replaced ({})", path, error.message()));
  }
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace stanley
