#include "run/verdict.hpp"

#include <fmt/format.h>

#include <iostream>

#include "config/error.hpp"

namespace stanley {

void Verdict::open() {
  record_.emplace(directory_.record());
  if (!record_->was_broken()) return;
  log_.warn(fmt::format("{} was broken; it is kept as {}.broken, and a new one begins",
                        directory_.record(), directory_.record()));
}

void Verdict::fail(const Error& error) {
  if (!record_ || !directory_.owned()) return;
  try {
    record_->stop({.iteration = reached_,
                   .code = error.code,
                   .message = session_.describe(error),
                   .host = session_.host_of(error)});
  } catch (const std::exception&) {
    log_.warn("run.json can't say how the run ended");
  }
}

void Verdict::abort(const Error& error) {
  // In one piece: what ranks say at once stays apart.
  std::cerr << "stanley: " + session_.describe(error) + '\n' << std::flush;
  fail(error);
}

Error Verdict::pass(const std::exception& exception, Watchdog& watchdog) {
  Error error = as_error(exception);
  if (session_.rank() == 0) {
    fail(error);
    directory_.check_ownership();  // where it is another run's by now, that is why
  } else if (!error.agreed) {
    watchdog.report(error);
  }
  return error;
}

}  // namespace stanley
