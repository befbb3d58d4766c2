#include "run/watchdog.hpp"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <future>
#include <thread>
#include <utility>

#include "config/error.hpp"

namespace stanley {
namespace {

/// Ticks that the other ranks leave to rank 0, which knows more, before they end the run
/// themselves.
constexpr std::int64_t grace = 5;
/// Ticks without a note after which a rank counts as silent.
constexpr std::int64_t silence = 3;
/// For the verdict: a busy disk takes seconds to have it for sure.
constexpr std::chrono::seconds patience_with_verdict{20};
constexpr std::chrono::seconds patience_with_log{3};

/// Processor time that the calling thread has taken.
double seconds_of_thread() {
  timespec used{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
}

}  // namespace

Watchdog::Watchdog(const Communicator& communicator, const Activity& activity, bool shared,
                   Options options)
    : communicator_(communicator),
      activity_(activity),
      options_(std::move(options)),
      bulletin_(shared ? make_bulletin(communicator) : nullptr),
      seen_(bulletin_ && communicator.rank() == 0 ? static_cast<std::size_t>(communicator.size())
                                                  : 1),
      exceptions_at_start_(std::uncaught_exceptions()) {
  ticker_.emplace(
      options_.tick, [this] { look(); },
      [this](const std::exception& error) {
        end(Error(ExitCode::communication, std::string("the watchdog: ") + error.what()));
      });
}

Watchdog::~Watchdog() {
  ticker_.reset();
  if (bulletin_ && std::uncaught_exceptions() == exceptions_at_start_) bulletin_->close();
}

void Watchdog::look() {
  Note mine{.tick = ++ticks_, .progress = activity_.progress()};
  std::strncpy(mine.phase.data(), activity_.phase(), mine.phase.size() - 1);
  notes_ = {mine};
  if (bulletin_) {
    bulletin_->post(mine);
    if (communicator_.rank() == 0) notes_ = bulletin_->notes();
    if (const auto& failure = bulletin_->reported()) end(*failure);
    const std::lock_guard lock(mutex_);
    if (own_failure_) bulletin_->report(*own_failure_);
  }
  for (std::size_t i = 0; i < seen_.size(); ++i) update(seen_[i], notes_[i]);
  if (hangs()) end(Error(ExitCode::communication, describe()));
  seconds_ = seconds_of_thread();
}

bool Watchdog::hangs() {
  const bool leader = communicator_.rank() == 0;
  const std::int64_t limit = options_.limit + (leader ? 0 : grace);
  const bool stuck = std::all_of(seen_.begin(), seen_.end(),
                                 [limit](const Seen& seen) { return seen.idle >= limit; });
  if (!bulletin_ || communicator_.size() == 1) return stuck;
  if (leader) {
    std::int64_t progress = 0;
    for (const Seen& seen : seen_) progress += seen.progress;
    bulletin_->tell_all(progress);
    return stuck;
  }
  const std::int64_t told = bulletin_->told();
  untold_ = told != told_ ? 0 : untold_ + 1;
  told_ = told;
  return stuck && untold_ >= limit;
}

void Watchdog::report(const Error& error) {
  if (!bulletin_ || communicator_.rank() == 0) return;
  {
    const std::lock_guard lock(mutex_);
    own_failure_ = error;
  }
  std::this_thread::sleep_for(options_.tick * (2 * grace) + patience_with_verdict +
                              patience_with_log);
}

void Watchdog::update(Seen& seen, const Note& note) const {
  seen.silent = note.tick != seen.tick ? 0 : seen.silent + 1;
  seen.idle = note.progress != seen.progress ? 0 : seen.idle + 1;
  seen.tick = note.tick;
  seen.progress = note.progress;
}

std::string Watchdog::describe() const {
  std::string message = fmt::format("no progress for {} s:", options_.limit);
  const bool all = seen_.size() > 1 || communicator_.size() == 1;
  for (std::size_t i = 0; i < seen_.size(); ++i) {
    const std::size_t rank = all ? i : static_cast<std::size_t>(communicator_.rank());
    message += fmt::format(
        "{} rank {} on {} {} '{}'", i == 0 ? "" : ",", rank, options_.hosts.at(rank),
        seen_[i].silent >= silence ? "is silent, last seen in" : "is in", notes_[i].phase.data());
  }
  if (!all) message += "; rank 0, which should have told, is silent";
  return message +
         "; the same command goes on from the newest checkpoint; raise watchdog.seconds "
         "if that step only takes so long";
}

void Watchdog::call(const std::function<void(const Error&)>& step, const Error& error,
                    std::chrono::seconds patience) {
  if (!step) return;
  std::packaged_task<void()> task([step, error] { step(error); });
  const auto done = task.get_future();  // nobody asks what it throws: the first error counts
  std::thread(std::move(task)).detach();
  const auto last = std::chrono::steady_clock::now() + patience;
  while (done.wait_for(options_.tick) != std::future_status::ready &&
         std::chrono::steady_clock::now() < last) {
    // The others leave the end to a rank 0 that is heard; where messages are what fails, it comes
    // without them.
    try {
      if (bulletin_ && communicator_.rank() == 0) bulletin_->tell_all(--ending_);
    } catch (const std::exception&) {
    }
  }
}

void Watchdog::end(const Error& error) {
  call(options_.write_verdict, error, patience_with_verdict);
  call(options_.write_log, error, patience_with_log);
  communicator_.abort(error.code);
}

}  // namespace stanley
