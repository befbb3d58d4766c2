#include "train/start_states.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <map>

#include "config/error.hpp"
#include "sampler/device_update.hpp"

namespace stanley {
namespace {

/// The mean and a root of the covariance of some data samples.
struct Gaussian {
  at::Tensor mean;  ///< [d]
  at::Tensor root;  ///< [d, d], lower triangle
};

/// Fits one Gaussian to each class (to all data where there are no labels), from at most
/// `largest` samples each. A little white noise keeps the covariance regular: edges of images are
/// constant.
std::vector<Gaussian> fit_gaussians(const Dataset& dataset) {
  constexpr std::int64_t largest = 4096;
  constexpr double floor = 1e-4;
  const c10::NoGradGuard no_gradient;
  // By label, whether or not the classes have names.
  std::map<std::int64_t, std::vector<std::int64_t>> members;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    auto& group =
        members[dataset.labels().empty() ? 0 : dataset.labels()[static_cast<std::size_t>(i)]];
    if (static_cast<std::int64_t>(group.size()) < largest) group.push_back(i);
  }
  std::vector<Gaussian> result;
  for (const auto& [label, group] : members) {
    at::Tensor samples =
        at::empty({static_cast<std::int64_t>(group.size()), dataset.dimension()}, at::kFloat);
    for (std::size_t i = 0; i < group.size(); ++i) {
      dataset.copy_sample(group[i], samples.mutable_data_ptr<float>() +
                                        static_cast<std::int64_t>(i) * dataset.dimension());
    }
    const at::Tensor centred = (samples - samples.mean(0)).to(at::kDouble);
    const at::Tensor covariance = centred.t().mm(centred) / static_cast<double>(group.size()) +
                                  floor * at::eye(dataset.dimension(), at::kDouble);
    result.push_back({samples.mean(0), at::linalg_cholesky(covariance).to(at::kFloat)});
  }
  return result;
}

class StartStates {
 public:
  StartStates(const Config& config, const Dataset& dataset, std::uint32_t attempt)
      : type_(config.chains.start),
        dataset_(dataset),
        noise_{config.run.seed, random::Stream::start_state, attempt},
        choice_{config.run.seed, random::Stream::start_choice, attempt},
        low_(static_cast<float>(config.sampler.box.value_or(config.data.range)[0])),
        high_(static_cast<float>(config.sampler.box.value_or(config.data.range)[1])),
        boxed_(config.sampler.box.has_value()) {
    if (type_ == StartType::data_gaussian) gaussians_ = fit_gaussians(dataset);
  }

  void operator()(ChainBatch& batch, std::int64_t iteration) const {
    const c10::NoGradGuard no_gradient;
    const auto step = static_cast<std::uint64_t>(iteration);
    switch (type_) {
      case StartType::uniform:
        return fill_uniform(noise_, step, low_, high_, batch);
      case StartType::normal:
        fill_normal(noise_, step, 1.0F, batch);
        break;
      case StartType::data:
        fill_from_data(batch, step);
        break;
      case StartType::data_gaussian:
        fill_normal(noise_, step, 1.0F, batch);
        shape_as_data(batch, step);
        break;
      case StartType::bank:
        throw Error(ExitCode::bug, "chains.start: bank has no start states of its own");
    }
    if (boxed_) batch.state.clamp_(low_, high_);
  }

 private:
  std::int64_t choose(std::int64_t id, std::uint64_t step, std::int64_t count) const {
    return static_cast<std::int64_t>(
        random::uniform_double(choice_, static_cast<std::uint32_t>(id), step) *
        static_cast<double>(count));
  }

  void fill_from_data(ChainBatch& batch, std::uint64_t step) const {
    const at::Tensor ids = batch.ids.to(at::kCPU);
    at::Tensor samples = at::empty(batch.state.sizes(), at::kFloat);
    for (std::int64_t i = 0; i < ids.numel(); ++i) {
      const std::int64_t id = ids.const_data_ptr<std::int64_t>()[i];
      dataset_.copy_sample(choose(id, step, dataset_.size()),
                           samples.mutable_data_ptr<float>() + i * dataset_.dimension());
    }
    batch.state.copy_(samples);
  }

  /// From standard normal states to mean + root·ξ of a class for each chain.
  void shape_as_data(ChainBatch& batch, std::uint64_t step) const {
    const at::Tensor ids = batch.ids.to(at::kCPU);
    for (std::int64_t i = 0; i < ids.numel(); ++i) {
      const std::int64_t id = ids.const_data_ptr<std::int64_t>()[i];
      const auto count = static_cast<std::int64_t>(gaussians_.size());
      const Gaussian& gaussian = gaussians_[static_cast<std::size_t>(choose(id, step, count))];
      const at::Tensor state = batch.state[i];
      const at::Tensor shaped = gaussian.mean + gaussian.root.mv(state.to(at::kCPU).flatten());
      state.copy_(shaped.view(state.sizes()));
    }
  }

  StartType type_;
  const Dataset& dataset_;
  random::Key noise_, choice_;
  float low_, high_;
  bool boxed_;
  std::vector<Gaussian> gaussians_;
};

}  // namespace

StartState make_start_state(const Config& config, const Dataset& dataset, std::uint32_t attempt) {
  // Shared: a std::function is copied, the fitted Gaussians need not be.
  return [states = std::make_shared<const StartStates>(config, dataset, attempt)](
             ChainBatch& batch, std::int64_t iteration) { (*states)(batch, iteration); };
}

}  // namespace stanley
