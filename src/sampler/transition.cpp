#include "sampler/transition.hpp"

#include <ATen/ATen.h>

#include <utility>

#include "sampler/langevin.hpp"

namespace stanley {

ChainRecord ChainStatistics::sum() const {
  const at::Tensor host = of_chains.to(at::kCPU).contiguous();
  const std::int64_t n = host.size(1);
  const auto* value = host.const_data_ptr<float>();
  ChainRecord record;
  record.chains = record.acceptance = static_cast<double>(n);
  for (double* total :
       {&record.energy, &record.gradient_quantile[0], &record.gradient_quantile[1],
        &record.gradient_quantile[2], &record.gain_quantile[0], &record.gain_quantile[1],
        &record.gain_quantile[2], &record.gain_below_one, &record.drift, &record.gradient}) {
    for (std::int64_t i = 0; i < n; ++i) *total += static_cast<double>(*value++);
  }
  return record;
}

std::unique_ptr<Transition> make_transition(const SamplerConfig& config, random::Key key,
                                            std::function<void()> stepped) {
  switch (config.type) {
    case TransitionType::stanley:
    case TransitionType::langevin:
    case TransitionType::gradient_descent:
      break;
  }
  return make_langevin_transition(config, key, std::move(stepped));
}

}  // namespace stanley
