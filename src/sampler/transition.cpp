#include "sampler/transition.hpp"

#include <utility>

#include "sampler/langevin.hpp"

namespace stanley {

ChainRecord& ChainRecord::operator+=(const ChainRecord& other) {
  chains += other.chains;
  energy += other.energy;
  for (int i = 0; i < 3; ++i) {
    gradient_quantile[i] += other.gradient_quantile[i];
    gain_quantile[i] += other.gain_quantile[i];
  }
  gain_below_one += other.gain_below_one;
  drift += other.drift;
  gradient += other.gradient;
  acceptance += other.acceptance;
  return *this;
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
