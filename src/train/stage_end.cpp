#include "train/stage_end.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "chains/tensor_view.hpp"
#include "config/error.hpp"
#include "energy/growth.hpp"
#include "parallel/agree.hpp"
#include "sampling/setup.hpp"
#include "storage/data_file.hpp"

namespace stanley {

void check_stages_fit(const Config& config, Communicator& communicator) {
  if (config.stages.empty()) return;
  on_first_rank(communicator, [&] {
    std::vector<std::int64_t> shape = DataFile(config.data.path).shape(config.data.split);
    shape.erase(shape.begin());
    const std::int64_t size = config.stages.back().size;
    if (shape.size() != 3 || shape[1] != size || shape[2] != size) {
      throw Error(ExitCode::configuration,
                  fmt::format("stages end with images of {0}×{0}, and {1} has states of {2}: the "
                              "last stage's size must be the side of its images, which are square",
                              size, config.data.path, fmt::join(shape, "×")));
    }
    const std::int64_t least = channels_to_grow(config.energy.downsampling, shape[0]);
    if (config.stages.size() == 1 || config.energy.channels >= least) return;
    throw Error(ExitCode::configuration,
                fmt::format("energy.channels {} is too small for stages: with energy.downsampling "
                            "{} and {} channel(s) in an image the convnet needs {} to pass the "
                            "image on; raise it",
                            config.energy.channels, to_string(config.energy.downsampling), shape[0],
                            least));
  });
}

StageEnd read_stage_end(const CheckpointHeader& header, const Config& config, Progress progress,
                        Sharding sharding, Communicator& communicator, const FileOptions& options) {
  StageEnd end{.network = nullptr, .states = {}, .restarts = {}, .progress = std::move(progress)};
  const StoredArray* bank = header.find("chains/state");
  if (bank == nullptr) throw FileError(header.path + " holds no chains");
  const std::vector<std::int64_t> state_shape(bank->shape.begin() + 1, bank->shape.end());
  end.network = make_network_on_all(config, state_shape, {}, communicator);
  Bank chains(config.chains, state_shape,
              deal_shards(config.chains.shards, communicator.rank(), communicator.size()),
              config.run.seed, 0, at::kCPU);
  std::vector<ArrayView> arrays;
  for (const NamedTensor& parameter : end.network->parameters()) {
    arrays.push_back(showing(parameter.value, {.name = "parameters/" + parameter.name}));
  }
  for (const ArrayView& view : chains.arrays()) arrays.push_back(view);
  check_arrays(header, arrays, sharding);
  read_checkpoint(communicator, header, arrays, sharding, options);
  end.states = chains.state();
  end.restarts = chains.restarts();
  return end;
}

}  // namespace stanley
