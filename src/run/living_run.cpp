#include "run/living_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "config/error.hpp"
#include "parallel/agree.hpp"

namespace stanley {
namespace {

/// From one sign of life in the owner file to the next.
constexpr std::chrono::seconds heartbeat_every{5};

Claim claim_of(bool take_over) {
  Claim claim = claim_of_job();
  claim.take_over = take_over;
  return claim;
}

}  // namespace

void LivingRun::take(bool take_over, std::function<void()> before_rename) {
  Communicator& world = session_.world();
  on_first_rank(world, [&] {
    directory.take(claim_of(take_over));
    log_.add_file(directory.log());
    verdict.open();
  });
  // Unfinished files are named after this start: one that lost its directory harms no other's.
  file_options = {.job = world.broadcast(directory.token(), 0),
                  .hints = config_.checkpoint.hints,
                  .before_rename =
                      [this, before_rename = std::move(before_rename)] {
                        directory.check_ownership();
                        if (before_rename) before_rename();
                      },
                  .progressed = [this] { activity.advance(); },
                  .on_abort =
                      [this](const Error& error) {
                        watchdog_->report(error);
                        verdict.abort(error);
                        log_.error(session_.describe(error));
                      }};
  watchdog_.emplace(
      world, activity, session_.threads_may_communicate(),
      Watchdog::Options{
          .limit = static_cast<std::int64_t>(std::clamp(config_.watchdog.seconds, 1.0, 1e9)),
          .hosts = session_.hosts(),
          .write_verdict = [this](const Error& error) { verdict.abort(error); },
          .write_log = [this](const Error& error) { log_.error(session_.describe(error)); }});
  if (!leader()) return;
  heartbeat_.emplace(
      heartbeat_every, [this] { directory.beat(); },
      [this](const std::exception& error) {
        log_.warn(fmt::format("the heartbeat has ended: {}", error.what()));
      });
}

void LivingRun::tidy_up(bool take_over) {
  if (!leader()) return;
  try {
    directory.take(claim_of(take_over));
  } catch (const Error&) {
    // Perhaps it may only be read: it is finished all the same.
  }
}

}  // namespace stanley
