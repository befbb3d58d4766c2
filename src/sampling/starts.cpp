#include "sampling/starts.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "chains/start_states.hpp"
#include "config/error.hpp"
#include "parallel/agree.hpp"
#include "storage/array.hpp"
#include "storage/stored_states.hpp"

namespace stanley {
namespace {

/// States `first` on of a file, which begins anew behind its last one: [count, state shape].
at::Tensor states_in_turn(const StoredStates& stored, std::int64_t first, std::int64_t count) {
  std::vector<std::int64_t> shape{count};
  shape.insert(shape.end(), stored.shape().begin(), stored.shape().end());
  at::Tensor states = at::empty(shape, at::kFloat);
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t at = (first + done) % stored.count();
    const std::int64_t size = std::min(count - done, stored.count() - at);
    stored.read(at, size, states.mutable_data_ptr<float>() + done * stored.dimension());
    done += size;
  }
  return states;
}

void check_bank(const StoredStates& stored, std::int64_t starts, const Config& config,
                const std::string& name) {
  if (starts <= stored.count()) return;
  throw Error(
      ExitCode::configuration,
      fmt::format(
          "chains.total is {}{}, but the bank of {} holds {} chains; ask for fewer, "
          "or set chains.start to uniform, normal, data or data_gaussian",
          config.chains.total,
          config.sampling.chains_per_start == 1 ? "" : fmt::format(" with {} starts", starts), name,
          stored.count()));
}

void check_states(const StoredStates& stored, const ChainBatch& chains, const std::string& name) {
  const std::vector<std::int64_t> wanted = chains.state.sizes().slice(1).vec();
  if (stored.shape() == wanted) return;
  throw Error(
      ExitCode::configuration,
      fmt::format("the states of {} have the shape {}, and the energy takes {}: give a file "
                  "of states of its shape",
                  name, shape_text(stored.shape()), shape_text(wanted)));
}

}  // namespace

void start_chains(ChainBatch& chains, const SamplingSource& source, const Dataset& data,
                  Communicator& communicator) {
  const Config& config = source.config;
  const std::int64_t together = config.sampling.chains_per_start;
  const std::int64_t count = chains.state.size(0) / together;
  const std::int64_t first = count > 0 ? chains.ids[0].item<std::int64_t>() / together : 0;
  const bool from_file = !config.sampling.states.empty();
  at::Tensor starts;
  agree(communicator, [&] {
    if (from_file || config.chains.start.has(StartType::bank)) {
      const std::string& name = from_file ? config.sampling.states : source.header->path;
      const StoredStates stored(name);
      check_states(stored, chains, name);
      if (!from_file) check_bank(stored, config.chains.total / together, config, name);
      starts = states_in_turn(stored, first, count);
      return;
    }
    ChainBatch leaders =
        zero_chains(0, count, chains.state.sizes().slice(1).vec(), chains.state.device());
    leaders.ids.add_(first).mul_(together);  // of the first chain of each super-chain
    start_in_blocks(leaders, 0, make_start_state(config, data, 0));
    starts = leaders.state;
  });
  if (count > 0) chains.state.copy_(starts.repeat_interleave(together, 0));
}

}  // namespace stanley
