#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "parallel/communicator.hpp"

namespace stanley {

/// What one rank last told about itself.
struct Note {
  std::int64_t tick{0};      ///< grows while the rank's watchdog lives
  std::int64_t progress{0};  ///< grows while the rank gets on
  std::array<char, 48> phase{};
};

/// Short notes from every rank to rank 0, and from rank 0 to every rank, in which no rank ever
/// waits for another, so that they arrive while some ranks hang. For one thread of each rank beside
/// the computing one.
class Bulletin {
 public:
  virtual ~Bulletin() = default;

  /// Sends this rank's note, unless the one before is still on its way.
  virtual void post(const Note& note) = 0;
  /// Rank 0: the newest note of each rank that has arrived, in rank order; elsewhere empty.
  virtual const std::vector<Note>& notes() = 0;
  /// A rank that has failed alone tells rank 0 why; at most once.
  virtual void report(const Error& error) = 0;
  /// Rank 0: the first report that has arrived, with its rank; elsewhere nothing.
  virtual const std::optional<Error>& reported() = 0;

  /// Rank 0 tells all ranks how far they have got together; those whose number before is still on
  /// its way don't get this one.
  virtual void tell_all(std::int64_t progress) = 0;
  /// The newest number that rank 0 told; 0 before the first.
  virtual std::int64_t told() = 0;

  /// Collective. The last call on all ranks.
  virtual void close() = 0;
};

/// Collective. Among the ranks of `communicator`, with a message space of its own; none for the
/// local communicator, whose rank has nobody to tell.
std::unique_ptr<Bulletin> make_bulletin(const Communicator& communicator);

}  // namespace stanley
