#include "run/watchdog.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>

#include "config/error.hpp"

namespace stanley {
namespace {

/// Ticks from one sign of life in the owner file to the next.
constexpr std::int64_t beat_every = 5;
/// Ticks that the other ranks leave to rank 0, which knows more, before they end the run
/// themselves.
constexpr std::int64_t grace = 5;
/// Ticks without a note after which a rank counts as silent.
constexpr std::int64_t silence = 3;

}  // namespace

Watchdog::Watchdog(const Communicator& communicator, const Activity& activity, bool shared,
                   Options options)
    : communicator_(communicator),
      activity_(activity),
      options_(std::move(options)),
      bulletin_(shared ? make_bulletin(communicator) : nullptr),
      seen_(bulletin_ && communicator.rank() == 0 ? static_cast<std::size_t>(communicator.size())
                                                  : 1),
      exceptions_at_start_(std::uncaught_exceptions()),
      thread_([this] { watch(); }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
  if (bulletin_ && std::uncaught_exceptions() == exceptions_at_start_) bulletin_->close();
}

void Watchdog::watch() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (wake_.wait_for(lock, options_.tick, [this] { return stopping_; })) return;
    }
    look();
    if (options_.beat && ticks_ % beat_every == 0) options_.beat();
  }
}

void Watchdog::look() {
  Note mine{.tick = ++ticks_, .progress = activity_.progress()};
  std::strncpy(mine.phase.data(), activity_.phase(), mine.phase.size() - 1);
  notes_ = {mine};
  if (bulletin_) {
    bulletin_->post(mine);
    if (communicator_.rank() == 0) notes_ = bulletin_->notes();
  }
  for (std::size_t i = 0; i < seen_.size(); ++i) update(seen_[i], notes_[i]);
  const bool alone = !bulletin_ || communicator_.rank() != 0;
  const std::int64_t limit = options_.limit + (alone && communicator_.size() > 1 ? grace : 0);
  const bool hangs = std::any_of(seen_.begin(), seen_.end(),
                                 [limit](const Seen& seen) { return seen.idle >= limit; });
  if (hangs) end(describe());
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
    message +=
        fmt::format("{} rank {} on {} {} '{}'", i == 0 ? "" : ",", rank, options_.hosts.at(rank),
                    seen_[i].silent >= silence ? "is silent, last seen in" : "waits in",
                    notes_[i].phase.data());
  }
  if (!all) message += "; rank 0, which should have told, is silent";
  return message + "; the same command goes on from the newest checkpoint";
}

void Watchdog::end(const std::string& message) {
  if (options_.on_hang) options_.on_hang(message);
  communicator_.abort(ExitCode::communication);
}

}  // namespace stanley
