#include "storage/child.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <exception>

#include "storage/descriptor.hpp"

namespace stanley {
namespace {

[[noreturn]] void cannot_start(const char* what) {
  throw Error(ExitCode::environment, std::string("cannot start a process to read files in: ") +
                                         what + ": " + std::strerror(errno));
}

/// Sends a mark ('r': a report, 'e': an error with its code), the text's length, the text.
void send_marked(int pipe, char mark, const std::string& text) {
  const std::uint64_t length = text.size();
  const std::string beginning(reinterpret_cast<const char*>(&length), sizeof(length));
  if (write_whole(pipe, mark + beginning + text) != 0) ::_exit(1);  // nobody listens any more
}

/// Leaves crashes without a trace of their own: MPI's handlers, core files, glibc's words.
void be_quiet() {
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL}) {
    std::signal(signal, SIG_DFL);
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  const int nowhere = ::open("/dev/null", O_WRONLY);
  if (nowhere >= 0) ::dup2(nowhere, STDERR_FILENO);
}

[[noreturn]] void be_child(int pipe, const std::function<void(const Send&)>& step) {
  be_quiet();
  try {
    step([&](const std::string& text) { send_marked(pipe, 'r', text); });
  } catch (const std::exception& exception) {
    send_marked(pipe, 'e', packed(as_error(exception)));
  }
  ::_exit(0);  // nothing of the parent's is flushed or closed twice
}

std::string read_all(int pipe) {
  std::string all;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t count = ::read(pipe, buffer, sizeof(buffer));
    if (count > 0) all.append(buffer, static_cast<std::size_t>(count));
    if (count == 0 || (count < 0 && errno != EINTR)) return all;
  }
}

/// Takes what the child sent apart. A text that was cut off is none.
std::string last_text(const std::string& all) {
  std::string last;
  for (std::size_t at = 0; at + 1 + sizeof(std::uint64_t) <= all.size();) {
    const char mark = all[at];
    std::uint64_t length = 0;
    std::memcpy(&length, all.data() + at + 1, sizeof(length));
    at += 1 + sizeof(length);
    if (length > all.size() - at) break;
    const std::string text = all.substr(at, length);
    at += length;
    if (mark == 'e') throw unpacked(text);
    last = text;
  }
  return last;
}

}  // namespace

ChildReport in_child(const std::function<void(const Send&)>& step) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) cannot_start("pipe");
  const pid_t child = ::fork();
  if (child < 0) cannot_start("fork");
  if (child == 0) {
    ::close(ends[0]);
    be_child(ends[1], step);
  }
  ::close(ends[1]);
  const std::string all = read_all(ends[0]);
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  ChildReport report{.last = last_text(all)};
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    report.crash = "signal " + std::to_string(signal) + ", " + ::strsignal(signal);
  }
  return report;
}

std::string damage_of_crash(const ChildReport& report) {
  return "it is damaged: HDF5 cannot read it to the end (" + report.crash + ")";
}

void prolong_child(int seconds) {
  rlimit limit{};
  ::getrlimit(RLIMIT_CPU, &limit);
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  limit.rlim_cur = static_cast<rlim_t>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                   static_cast<rlim_t>(seconds);
  if (limit.rlim_max != RLIM_INFINITY) limit.rlim_cur = std::min(limit.rlim_cur, limit.rlim_max);
  ::setrlimit(RLIMIT_CPU, &limit);
}

}  // namespace stanley
