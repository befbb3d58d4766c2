#include "run/owner.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "parallel/session.hpp"
#include "run/slurm.hpp"
#include "run/unfinished.hpp"
#include "storage/descriptor.hpp"

namespace stanley {
namespace {

/// When a process of this host started, in clock ticks since boot, so that a process number that
/// is used again is not taken for the old owner; empty if there is no such process.
std::string process_start(std::int64_t process) {
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

/// What a file of one line says; empty where there is none.
std::string line_of(const char* path) {
  std::string line = read_text(path);
  while (line.ends_with('\n')) line.pop_back();
  return line;
}

std::string process_namespace() {
  std::error_code ignored;
  return std::filesystem::read_symlink("/proc/self/ns/pid", ignored).string();
}

void describe_host(Owner& owner) {
  owner.host = host_name();
  owner.boot = line_of("/proc/sys/kernel/random/boot_id");
  owner.process_namespace = process_namespace();
}

/// Calls visit(key, value) for all that the file holds of an owner.
template <typename AnyOwner, typename Visit>
void for_each_entry(AnyOwner& owner, const Visit& visit) {
  visit("token", owner.token);
  visit("host", owner.host);
  visit("boot", owner.boot);
  visit("process_namespace", owner.process_namespace);
  visit("process", owner.process);
  visit("process_start", owner.process_start);
  visit("job", owner.job);
  visit("cluster", owner.cluster);
  visit("restart_count", owner.restart_count);
}

void read_content(const Descriptor& file, Owner& owner) {
  std::string text;
  if (const int error = read_whole(file.number(), text); error != 0) owner.error = error;
  const auto content = nlohmann::json::parse(text, nullptr, false);
  for_each_entry(owner, [&](const char* key, auto& value) {
    try {
      value = content.value(key, value);
    } catch (const nlohmann::json::exception&) {  // what is broken names nobody
    }
  });
}

bool process_lives(const Owner& owner) {
  const std::string start = process_start(owner.process);
  return !start.empty() && start == owner.process_start;
}

/// A process of another user, which /proc keeps from us (hidepid): it lives, but may be a later one
/// of that number.
bool process_is_hidden(const Owner& owner) {
  return process_start(owner.process).empty() &&
         ::kill(static_cast<pid_t>(owner.process), 0) != 0 && errno == EPERM;
}

/// Other users' jobs can be hidden from us, and another cluster's always are.
bool job_has_ended(const Owner& owner, const Claim& claim) {
  return owner.by_this_user && owner.cluster == claim.cluster && slurm_job_has_ended(owner.job);
}

}  // namespace

Owner this_process(const Claim& claim) {
  Owner owner;
  describe_host(owner);
  owner.process = getpid();
  owner.process_start = process_start(owner.process);
  owner.job = claim.job;
  owner.cluster = claim.cluster;
  owner.restart_count = claim.restart_count;
  owner.token = process_token();
  return owner;
}

std::string to_text(const Owner& owner) {
  nlohmann::ordered_json content;
  for_each_entry(owner, [&](const char* key, const auto& value) { content[key] = value; });
  content["since"] = std::time(nullptr);
  return content.dump(2) + '\n';
}

std::optional<Owner> read_owner(const std::string& path) {
  Owner owner;
  // Opening a pipe would wait for whoever writes into it.
  const Descriptor file(path, O_RDONLY | O_NONBLOCK, std::nothrow);
  if (file.number() < 0) {
    owner.error = errno;
    return owner.error == ENOENT ? std::nullopt : std::optional(owner);
  }
  struct stat status {};
  if (::fstat(file.number(), &status) != 0) owner.error = errno;
  if (owner.error == 0 && !S_ISREG(status.st_mode)) owner.error = EINVAL;
  if (owner.error != 0) return owner;
  owner.heartbeat = static_cast<double>(status.st_mtim.tv_sec) +
                    1e-9 * static_cast<double>(status.st_mtim.tv_nsec);
  owner.by_this_user = status.st_uid == ::geteuid();
  read_content(file, owner);
  return owner;
}

void touch_owner(const std::string& path, const std::string& token) {
  const Descriptor file(path, O_RDONLY, std::nothrow);
  if (file.number() < 0) return;
  Owner owner;
  read_content(file, owner);
  // The file that was read, whatever has its name by now. Without a time, it is the server's.
  if (!token.empty() && owner.token == token) ::futimens(file.number(), nullptr);
}

bool in_sight(const Owner& owner) {
  Owner here;
  describe_host(here);
  if (owner.host != here.host) return false;
  return owner.boot.empty() ||
         (owner.boot == here.boot && owner.process_namespace == here.process_namespace);
}

bool gone(const Owner& owner, const Claim& claim, double now) {
  if (in_sight(owner) && !process_is_hidden(owner)) return !process_lives(owner);
  return now - owner.heartbeat > static_cast<double>(claim.stale_after.count());
}

bool dead(const Owner& owner, const Claim& claim, double now) {
  if (owner.error != 0) return false;
  // A file that was cut off in its making names nobody.
  if (owner.host.empty()) return true;
  const bool same_job =
      !owner.job.empty() && owner.job == claim.job && owner.cluster == claim.cluster;
  // Requeued. Without a restart between them, both may be steps of one job.
  if (same_job && owner.restart_count < claim.restart_count) return true;
  if (gone(owner, claim, now)) return true;
  return !in_sight(owner) && !same_job && job_has_ended(owner, claim);
}

}  // namespace stanley
