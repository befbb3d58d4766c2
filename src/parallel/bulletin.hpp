#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "parallel/communicator.hpp"

namespace stanley {

/// What one rank last told about itself.
struct Note {
  std::int64_t tick{0};      ///< grows while the rank's watchdog lives
  std::int64_t progress{0};  ///< grows while the rank gets on
  std::array<char, 48> phase{};
};

/// Short notes from every rank to rank 0 in which no rank ever waits for another, so that they
/// arrive while some ranks hang. For one thread of each rank beside the computing one.
class Bulletin {
 public:
  virtual ~Bulletin() = default;

  /// Sends this rank's note, unless the one before is still on its way.
  virtual void post(const Note& note) = 0;
  /// Rank 0: the newest note of each rank that has arrived, in rank order; elsewhere empty.
  virtual const std::vector<Note>& notes() = 0;
  /// Collective. The last call on all ranks.
  virtual void close() = 0;
};

/// Collective. Among the ranks of `communicator`, with a message space of its own.
std::unique_ptr<Bulletin> make_bulletin(const Communicator& communicator);

}  // namespace stanley
