#include "evaluation/features.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <functional>
#include <numeric>

#include "chains/tensor_view.hpp"
#include "config/error.hpp"
#include "evaluation/feature_cache.hpp"
#include "parallel/agree.hpp"
#include "sampling/setup.hpp"

namespace stanley {
namespace {

/// States that go through the feature network: as many as its first layers hold in a core's cache,
/// and as few as keep the system from giving each tensor new pages.
constexpr std::int64_t states_at_once = 8;

void require_finite(const at::Tensor& states, const at::Tensor& features, const StateRows& rows,
                    std::int64_t first) {
  if (rows.refuse_as.empty()) return;
  if (features.isfinite().all().item<bool>() && states.isfinite().all().item<bool>()) return;
  throw FileError(
      fmt::format("{}, {} and those that follow: not all are finite numbers, and nothing can be "
                  "said of them",
                  rows.refuse_as, first));
}

/// A folder of data may be another's: then they are computed each time.
void keep(const FeatureCache& cache, const std::string& what, const at::Tensor& numbers, Log& log) {
  try {
    cache.write(numbers);
    log.info(fmt::format("{} kept in {}", what, cache.path()));
  } catch (const Error& error) {
    log.warn(fmt::format("{} are not kept: {}", what, error.what()));
  }
}

}  // namespace

Features Features::load(const FeatureRequest& request, const std::vector<std::int64_t>& shape,
                        const std::array<double, 2>& range, Communicator& communicator) {
  Features features(shape, range);
  if (shape.size() == 1 || request.path == "states") return features;
  features.network_.emplace(
      FeatureNetwork::load(request.path, request.protocol, request.option, communicator));
  const std::int64_t taken = features.network_->input().channels;
  if (shape[0] != 1 && shape[0] != taken) {
    throw Error(ExitCode::configuration,
                fmt::format("the feature network {} takes {} channels, and the states of {} have "
                            "{}: give one that fits with {}",
                            request.path, taken, request.owner, shape[0], request.option));
  }
  return features;
}

std::int64_t Features::dimension() const {
  if (network_) return network_->dimension();
  return std::accumulate(shape_.begin(), shape_.end(), std::int64_t{1}, std::multiplies<>());
}

/// States as their own features [n, dimension]: their data's range becomes −1 to 1, so that the
/// kernel doesn't depend on their unit.
at::Tensor Features::as_features(const at::Tensor& states) const {
  const auto& [low, high] = range_;
  return ((states - (low + high) / 2) / ((high - low) / 2)).reshape({states.size(0), -1});
}

at::Tensor Features::of_block(const StateRows& rows, const RowBlock& block) const {
  // Always as many: what a network makes of a state may depend on the size of its batch.
  std::vector<std::int64_t> batch{network_ ? states_at_once : block.count};
  batch.insert(batch.end(), shape_.begin(), shape_.end());
  const at::Tensor states = at::zeros(batch, at::kFloat);
  rows.read(block.first, block.count, states.mutable_data_ptr<float>());
  at::Tensor features = network_ ? network_->features(states, range_) : as_features(states);
  require_finite(states, features, rows, block.first);
  return features.narrow(0, 0, block.count);
}

at::Tensor Features::of(const StateRows& rows, Communicator& communicator,
                        const RowsDone& done) const {
  const at::Tensor all = at::zeros({rows.count, dimension()}, at::kDouble);
  agree(communicator, [&] {
    for_each_row_block(
        rows.count, states_at_once, communicator,
        [&](const RowBlock& block) {
          all.narrow(0, block.first, block.count).copy_(of_block(rows, block));
        },
        done);
  });
  communicator.sum(values_of<double>(all));  // each row is one rank's, and zero on the others
  return all;
}

FeatureCache Features::cache_of(const ReferenceImages& reference, const std::string& kind,
                                Communicator& communicator) const {
  return {reference.data,
          fmt::format("{} {}{} {} {} {} {} {} {} {}", reference.images.digest(), reference.split,
                      reference.first == 0 ? "" : fmt::format("+{}", reference.first),
                      reference.count, network_ ? network_->identity() : "", range_[0], range_[1],
                      states_at_once, TORCH_VERSION, common_instruction_set(false, communicator)),
          kind};
}

at::Tensor Features::known_or_made(const ReferenceImages& reference, const KeptNumbers& wanted,
                                   Communicator& communicator, Log& log,
                                   const std::function<at::Tensor()>& make) const {
  if (!network_ || reference.images.digest().empty()) return make();
  const FeatureCache cache = cache_of(reference, wanted.kind, communicator);
  std::optional<at::Tensor> known;
  if (communicator.rank() == 0) known = cache.read(wanted.shape, wanted.type);
  if (communicator.max(known ? 1 : 0) > 0) {
    at::Tensor numbers = known.value_or(at::empty(wanted.shape, wanted.type));
    communicator.broadcast({static_cast<std::byte*>(numbers.mutable_data_ptr()), numbers.nbytes()},
                           0);
    return numbers;
  }
  at::Tensor made = make().to(wanted.type);
  if (communicator.rank() == 0) {
    keep(
        cache,
        fmt::format("{} of {} images of split '{}'", wanted.what, reference.count, reference.split),
        made, log);
  }
  return made;
}

at::Tensor Features::of_reference(const ReferenceImages& reference, Communicator& communicator,
                                  Log& log, const RowsDone& done) const {
  const Dataset& images = reference.images;
  const StateRows rows{.count = reference.count,
                       .read =
                           [&](std::int64_t first, std::int64_t count, float* out) {
                             for (std::int64_t i = 0; i < count; ++i) {
                               images.copy_sample(reference.first + first + i,
                                                  out + i * images.dimension());
                             }
                           },
                       .refuse_as = "features of the reference, " + reference.data};
  const KeptNumbers features{"features", "", {reference.count, dimension()}, at::kFloat};
  return known_or_made(reference, features, communicator, log,
                       [&] { return of(rows, communicator, done); })
      .to(at::kDouble);
}

}  // namespace stanley
