#include "chains/start_states.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <map>
#include <optional>
#include <utility>

#include "chains/class_gaussians.hpp"
#include "config/error.hpp"
#include "sampler/device_update.hpp"

namespace stanley {
namespace {

class StartStates {
 public:
  StartStates(const Config& config, const Dataset& dataset, std::uint32_t attempt,
              std::function<void()> progressed)
      : start_(config.chains.start),
        components_(config.chains.principal_components),
        dataset_(dataset),
        noise_{config.run.seed, random::Stream::start_state, attempt},
        choice_{config.run.seed, random::Stream::start_choice, attempt},
        law_{config.run.seed, random::Stream::start_law, attempt},
        low_(static_cast<float>(config.sampler.box.value_or(config.data.range)[0])),
        high_(static_cast<float>(config.sampler.box.value_or(config.data.range)[1])),
        boxed_(config.sampler.box.has_value()),
        progressed_(std::move(progressed)) {}

  void operator()(ChainBatch& batch, std::int64_t iteration) {
    const c10::NoGradGuard no_gradient;
    const auto step = static_cast<std::uint64_t>(iteration);
    if (start_.shares.size() == 1) {
      fill(start_.shares.begin()->first, batch, step);
    } else {
      fill_mixed(batch, step);
    }
    if (progressed_) progressed_();
  }

 private:
  /// Each chain from the law that its number picks.
  void fill_mixed(const ChainBatch& batch, std::uint64_t step) {
    const at::Tensor ids = batch.ids.to(at::kCPU);
    std::map<StartType, std::vector<std::int64_t>> rows;
    for (std::int64_t i = 0; i < ids.numel(); ++i) {
      const auto id = static_cast<std::uint32_t>(ids.const_data_ptr<std::int64_t>()[i]);
      rows[start_.pick(random::uniform_double(law_, id, step))].push_back(i);
    }
    for (const auto& [law, of_law] : rows) {
      const at::Tensor here = at::tensor(of_law, at::kLong).to(batch.ids.device());
      ChainBatch part = batch.select(here);
      fill(law, part, step);
      batch.put(here, part);
    }
  }

  void fill(StartType law, ChainBatch& batch, std::uint64_t step) {
    switch (law) {
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

  std::int64_t choose(std::int64_t id, std::uint64_t step, std::int64_t count) const {
    return static_cast<std::int64_t>(
        random::uniform_double(choice_, static_cast<std::uint32_t>(id), step) *
        static_cast<double>(count));
  }

  void fill_from_data(ChainBatch& batch, std::uint64_t step) const {
    const at::Tensor ids = batch.ids.to(at::kCPU);
    at::Tensor samples =
        batch.state.is_cpu() ? batch.state : at::empty(batch.state.sizes(), at::kFloat);
    for (std::int64_t i = 0; i < ids.numel(); ++i) {
      const std::int64_t id = ids.const_data_ptr<std::int64_t>()[i];
      dataset_.copy_sample(choose(id, step, dataset_.size()),
                           samples.mutable_data_ptr<float>() + i * dataset_.dimension());
    }
    if (!batch.state.is_cpu()) batch.state.copy_(samples);
  }

  /// From standard normal states to those of a class for each chain.
  void shape_as_data(ChainBatch& batch, std::uint64_t step) {
    // Fitted when the first chain starts: a training that goes on may never need them.
    if (!gaussians_) gaussians_.emplace(dataset_, components_, progressed_);
    const at::Tensor ids = batch.ids.to(at::kCPU);
    std::vector<std::int64_t> class_of(static_cast<std::size_t>(ids.numel()));
    for (std::size_t i = 0; i < class_of.size(); ++i) {
      class_of[i] = choose(ids.const_data_ptr<std::int64_t>()[i], step, gaussians_->classes());
    }
    at::Tensor states = batch.state.to(at::kCPU);
    gaussians_->shape(class_of, states);
    if (!batch.state.is_cpu()) batch.state.copy_(states);
  }

  StartMixture start_;
  std::optional<std::int64_t> components_;
  const Dataset& dataset_;
  random::Key noise_, choice_, law_;
  float low_, high_;
  bool boxed_;
  std::function<void()> progressed_;
  std::optional<ClassGaussians> gaussians_;
};

}  // namespace

StartState make_start_state(const Config& config, const Dataset& dataset, std::uint32_t attempt,
                            std::function<void()> progressed) {
  // Shared: a std::function is copied, the fitted Gaussians need not be.
  return [states = std::make_shared<StartStates>(config, dataset, attempt, std::move(progressed))](
             ChainBatch& batch, std::int64_t iteration) { (*states)(batch, iteration); };
}

}  // namespace stanley
