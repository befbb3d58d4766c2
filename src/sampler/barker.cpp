#include <ATen/ATen.h>

#include "sampler/proposal.hpp"
#include "sampler/walls.hpp"

namespace stanley {
namespace {

class BarkerProposal final : public Proposal {
 public:
  explicit BarkerProposal(const SamplerConfig& config) : walls_(config.box) {}

  bool takes_uniforms() const override { return true; }

  at::Tensor propose(const Place& here, const StepDraw& draw) override {
    const at::Tensor step = draw.scale.deviation * draw.normals,
                     onward = at::sigmoid(-step * here.gradient / draw.scale.temperature);
    return here.state + at::where(draw.uniforms < onward, step, -step);
  }

  at::Tensor log_ratio(const Place& here, const Place& there, const StepDraw& draw) override {
    return log_density(here, there, draw) - log_density(there, here, draw);
  }

 private:
  /// q(to | from) = 2·φ(δ/σ)/σ·s(−δ·∂E/T), with s the logistic function; without what cancels.
  at::Tensor log_density(const Place& to, const Place& from, const StepDraw& draw) const {
    const at::Tensor& sigma = draw.scale.deviation;
    const at::Tensor slope = -from.gradient / draw.scale.temperature;
    return walls_.log_density(
        to.state, from.state, draw.scale.reach, [&](const at::Tensor& distance) {
          return (distance / sigma).square() * -0.5 + at::log_sigmoid(distance * slope);
        });
  }

  Walls walls_;
};

}  // namespace

std::unique_ptr<Proposal> make_barker_proposal(const SamplerConfig& config) {
  return std::make_unique<BarkerProposal>(config);
}

}  // namespace stanley
