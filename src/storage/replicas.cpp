#include <span>

#include "config/error.hpp"
#include "storage/checkpoint.hpp"
#include "storage/digest.hpp"

// Whether all ranks hold the same.

namespace stanley {

void check_replicas(Communicator& communicator, const std::vector<std::string>& hosts,
                    const std::vector<ArrayView>& arrays) {
  std::vector<std::string> names;
  std::vector<std::uint64_t> digests;
  for (const ArrayView& array : arrays) {
    if (array.shards > 0) continue;
    names.push_back(array.name);
    digests.push_back(digest({static_cast<const std::byte*>(array.data), local_bytes(array)}));
  }
  const std::string mine = std::to_string(digest(std::as_bytes(std::span(digests))));
  const std::vector<std::string> all = communicator.all_gather(mine);
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    const std::string text(reinterpret_cast<const char*>(digests.data()),
                           digests.size() * sizeof(std::uint64_t));
    const std::vector<std::string> details = communicator.all_gather(text);
    std::size_t first = 0;
    while (details[rank].compare(8 * first, 8, details[0], 8 * first, 8) == 0) ++first;
    Error error(ExitCode::environment,
                "array '" + names.at(first) + "' on rank " + std::to_string(rank) + " (" +
                    hosts.at(rank) + ") is not that of rank 0 (" + hosts.at(0) +
                    "), though both computed the same: their processors, libraries or threads "
                    "differ, or one of them is broken; use nodes of one kind, without these");
    error.agreed = true;
    error.rank = static_cast<int>(rank);
    throw error;
  }
}

}  // namespace stanley
