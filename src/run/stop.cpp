#include "run/stop.hpp"

#include <csignal>

#include "config/error.hpp"

namespace stanley {
namespace {

// The only mutable state outside of objects: a signal handler can reach nothing else.
volatile std::sig_atomic_t stop_requested = 0;  // by this signal
volatile std::sig_atomic_t checkpoint_requested = 0;
volatile std::time_t first_request = 0;
std::time_t (*clock_of_requests)(std::time_t*) = std::time;

void on_stop(int signal) {
  const std::time_t now = clock_of_requests(nullptr);
  if (stop_requested == 0) {
    first_request = now;
    stop_requested = signal;
  } else if (signal != SIGUSR1 && now - first_request >= 5) {
    std::_Exit(static_cast<int>(ExitCode::requeue));
  }
}

void on_checkpoint(int) { checkpoint_requested = 1; }

void install(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

bool is_ignored(int signal) {
  struct sigaction action {};
  sigaction(signal, nullptr, &action);
  return action.sa_handler == SIG_IGN;
}

/// Whether this process was started to ignore HUP, as by nohup. Found out before the libraries
/// start: UCX, which an MPI may bring, then takes HUP for itself.
volatile std::sig_atomic_t hang_up_ignored = 0;
void look_at_hang_up(int, char**, char**) { hang_up_ignored = is_ignored(SIGHUP) ? 1 : 0; }
#if !defined(__SANITIZE_ADDRESS__)  // which isn't ready then
__attribute__((section(".preinit_array"), used)) void (*const look_first)(int, char**,
                                                                          char**) = look_at_hang_up;
#endif

void install_hang_up(void (*handler)(int)) {
  install(SIGHUP, hang_up_ignored != 0 || is_ignored(SIGHUP) ? SIG_IGN : handler);
}

}  // namespace

void catch_signals(std::time_t (*clock)(std::time_t*)) {
  clock_of_requests = clock;
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT}) install(signal, on_stop);
  install(SIGUSR2, on_checkpoint);
  install_hang_up(on_stop);
  // Of a log's reader that went away: writing fails then, and the training goes on without it.
  install(SIGPIPE, SIG_IGN);
}

void release_signals() {
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT, SIGUSR2, SIGPIPE}) install(signal, SIG_DFL);
  install_hang_up(SIG_DFL);
  // Which came before now would have ended the process.
  if (stop_requested != 0) std::raise(stop_requested);
  if (checkpoint_requested != 0) std::raise(SIGUSR2);
}

StopRequest take_request() {
  const StopRequest request{stop_requested != 0, checkpoint_requested != 0};
  checkpoint_requested = 0;
  return request;
}

}  // namespace stanley
