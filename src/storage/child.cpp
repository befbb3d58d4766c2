#include "storage/child.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <sstream>

#include "storage/descriptor.hpp"
#include "storage/json_values.hpp"

namespace stanley {
namespace {

[[noreturn]] void cannot_start(const char* what) {
  throw Error(ExitCode::environment, std::string("cannot start a process to read files in: ") +
                                         what + ": " + std::strerror(errno));
}

/// A report's text, or an error's.
struct Message {
  bool failed{false};
  std::string text{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Message, failed, text)

void send(int pipe, const Message& message) {
  if (write_whole(pipe, to_bytes(message)) != 0) ::_exit(1);  // nobody listens any more
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
    step([&](const std::string& text) { send(pipe, {.text = text}); });
  } catch (const std::exception& exception) {
    send(pipe, {.failed = true, .text = packed(as_error(exception))});
  }
  ::_exit(0);  // nothing of the parent's is flushed or closed twice
}

/// Takes what the child sent apart. A text that was cut off is none.
std::string last_text(const std::string& all) {
  std::istringstream stream(all);
  std::string last;
  for (;;) {
    const auto sent = nlohmann::json::from_cbor(stream, false, false);
    if (sent.is_discarded()) return last;
    const auto message = sent.get<Message>();
    if (message.failed) throw unpacked(message.text);
    last = message.text;
  }
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
  std::string all;
  read_whole(ends[0], all);
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
