#include "parallel/agree.hpp"

#include <exception>
#include <optional>

namespace stanley {

void agree(Communicator& communicator, const std::function<void()>& step) {
  std::optional<Error> failure;
  try {
    step();
  } catch (const std::exception& error) {
    failure = as_error(error);
  } catch (...) {
    failure = Error(ExitCode::bug, "an exception of an unknown type was thrown");
  }
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
