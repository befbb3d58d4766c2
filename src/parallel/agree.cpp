#include "parallel/agree.hpp"

#include <exception>
#include <optional>

namespace stanley {
namespace {

std::optional<Error> failure_of(const std::function<void()>& step) {
  try {
    step();
  } catch (const std::exception& error) {
    return as_error(error);
  } catch (...) {
    return Error(ExitCode::bug, "an exception of an unknown type was thrown");
  }
  return std::nullopt;
}

}  // namespace

void agree(Communicator& communicator, const std::function<void()>& step) {
  const std::optional<Error> failure = failure_of(step);
  if (failure && failure->code == ExitCode::communication) throw *failure;

  const int all_well = communicator.size();
  const int mine = failure ? communicator.rank() : all_well;
  const int first = static_cast<int>(communicator.min(mine));
  if (first == all_well) return;

  Error error = unpacked(communicator.broadcast(mine == first ? packed(*failure) : "", first));
  error.agreed = true;
  error.rank = first;
  throw error;
}

void on_first_rank(Communicator& communicator, const std::function<void()>& step) {
  agree(communicator, [&] {
    if (communicator.rank() == 0) step();
  });
}

}  // namespace stanley
