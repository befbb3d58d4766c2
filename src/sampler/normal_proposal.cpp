#include <ATen/ATen.h>

#include <cmath>
#include <utility>

#include "config/error.hpp"
#include "sampler/gain.hpp"
#include "sampler/proposal.hpp"
#include "sampler/walls.hpp"

// Proposals that are independent normal numbers around where each element drifts.

namespace stanley {
namespace {

struct NormalLaw {
  at::Tensor mean;                ///< [n, d]
  at::Tensor deviation;           ///< [n, d], or [n, 1] where it is that of every place
  bool differs_by_place = false;  ///< whether it is the state's own
};

class NormalProposal : public Proposal {
 public:
  explicit NormalProposal(const SamplerConfig& config) : config_(config), walls_(config.box) {}

  at::Tensor propose(const Place& here, const StepDraw& draw) override {
    const NormalLaw from = law(here, draw);
    return at::addcmul(from.mean, from.deviation, draw.normals);
  }

  at::Tensor log_ratio(const Place& here, const Place& there, const StepDraw& draw) override {
    const double reach = draw.scale.reach * most_gain();
    return log_density(here, law(there, draw), reach) - log_density(there, law(here, draw), reach);
  }

 protected:
  virtual NormalLaw law(const Place& at, const StepDraw& draw) const = 0;
  /// The most by which a deviation is larger than √(αT).
  virtual double most_gain() const { return 1; }

  const SamplerConfig& config() const { return config_; }

 private:
  at::Tensor log_density(const Place& to, const NormalLaw& law, double reach) const {
    const at::Tensor log_deviation = law.differs_by_place ? law.deviation.log() : at::Tensor();
    return walls_.log_density(to.state, law.mean, reach, [&](const at::Tensor& distance) {
      const at::Tensor exponent = (distance / law.deviation).square() * -0.5;
      return law.differs_by_place ? exponent - log_deviation : exponent;
    });
  }

  SamplerConfig config_;
  Walls walls_;
};

/// z − (α/2)·∇E + √(αT)·ξ
class LangevinProposal final : public NormalProposal {
 public:
  using NormalProposal::NormalProposal;

 private:
  NormalLaw law(const Place& at, const StepDraw& draw) const override {
    return {at::addcmul(at.state, draw.scale.step_size, at.gradient, -0.5), draw.scale.deviation};
  }
};

/// z − (α/2)·γ∘∇E + √(αTγ)∘ξ, with γ at each state (Karimi, Xie, Li, arXiv 2310.12667; its parent,
/// with the correction, is AMALA: Allassonnière and Kuhn, arXiv 1207.5938), and, where that is
/// asked for, the drift (αT/2)·∂γᵢ/∂zᵢ, estimated by v∘(J_γ v).
class StanleyProposal final : public NormalProposal {
 public:
  using NormalProposal::NormalProposal;
  bool takes_signs() const override { return config().drift_correction; }

 private:
  NormalLaw law(const Place& at, const StepDraw& draw) const override {
    const at::Tensor th = thresholds(config().threshold, at.gradient),
                     gain = gains(at.gradient, th);
    at::Tensor mean = at::addcmul(at.state, draw.scale.step_size, gain * at.gradient, -0.5);
    if (config().drift_correction) {
      const at::Tensor slopes =
          gain_slopes(config().threshold, at.gradient, th, at.curvature, draw.signs);
      mean = at::addcmul(mean, draw.scale.step_size * draw.scale.temperature, slopes, 0.5);
    }
    return {mean, draw.scale.deviation * gain.sqrt(), true};
  }
};

/// z − (α/2)·g/(1 + |g|/th) + √(αT)·ξ: the coordinate-wise tamed algorithm (Brosse, Durmus,
/// Moulines, Sabanis, arXiv 1710.05559), whose drift is less than (α/2)·th, as STANLEY's, and whose
/// noise is not touched.
class TamedProposal final : public NormalProposal {
 public:
  using NormalProposal::NormalProposal;

 private:
  NormalLaw law(const Place& at, const StepDraw& draw) const override {
    const at::Tensor th = thresholds(config().threshold, at.gradient).unsqueeze(1),
                     sum = th + at.gradient.abs(),
                     share = at::where(sum == 0, at::ones({}, sum.options()), th / sum);
    return {at::addcmul(at.state, draw.scale.step_size, share * at.gradient, -0.5),
            draw.scale.deviation};
  }
};

/// z − (α/2)·D∘∇E + √(αTD)∘ξ with D from each chain's running second moment of ∇E, as in
/// preconditioned stochastic gradient Langevin dynamics (Li et al., arXiv 1512.07666): D = m/(√v +
/// λm), m² the mean of v over the elements, so that α keeps its meaning.
class PreconditionedProposal final : public NormalProposal {
 public:
  using NormalProposal::NormalProposal;

  std::vector<Memory> memory() const override {
    return {{.name = "second_moment", .like_state = true}};
  }

  void begin(const Place& here, std::vector<at::Tensor>& memory, bool adapting) override {
    at::Tensor moment = memory.front().flatten(1);
    if (adapting) {
      // The first one as it is: a mean with zeros would make the first steps too large.
      const at::Tensor square = here.gradient.square(),
                       first = (moment.amax(1, true) == 0).to(at::kFloat),
                       share = first + (1 - first) * (1 - decay);
      moment.lerp_(square, share.expand_as(square));
    }
    const at::Tensor root = moment.sqrt(), mean = moment.mean(1, true).sqrt();
    scale_ = at::where(mean == 0, at::ones({}, root.options()), mean / (root + least * mean));
  }

 private:
  static constexpr double decay = 0.99, least = 0.1;

  double most_gain() const override { return std::sqrt(1 / least); }

  NormalLaw law(const Place& at, const StepDraw& draw) const override {
    return {at::addcmul(at.state, draw.scale.step_size, scale_ * at.gradient, -0.5),
            draw.scale.deviation * scale_.sqrt()};
  }

  at::Tensor scale_;  // D [n, d] of the step
};

/// z + √(αT)·ξ: also between walls as likely there as back.
class RandomWalkProposal final : public Proposal {
 public:
  bool takes_gradient() const override { return false; }

  at::Tensor propose(const Place& here, const StepDraw& draw) override {
    return at::addcmul(here.state, draw.scale.deviation, draw.normals);
  }

  at::Tensor log_ratio(const Place& here, const Place&, const StepDraw&) override {
    return at::zeros_like(here.energy);
  }
};

}  // namespace

std::unique_ptr<Proposal> make_proposal(const SamplerConfig& config) {
  switch (config.type) {
    case TransitionType::langevin:
      return std::make_unique<LangevinProposal>(config);
    case TransitionType::stanley:
      return std::make_unique<StanleyProposal>(config);
    case TransitionType::tamed:
      return std::make_unique<TamedProposal>(config);
    case TransitionType::preconditioned_langevin:
      return std::make_unique<PreconditionedProposal>(config);
    case TransitionType::random_walk:
      return std::make_unique<RandomWalkProposal>();
    case TransitionType::barker:
      return make_barker_proposal(config);
    case TransitionType::gradient_descent:
    case TransitionType::hmc:
      break;
  }
  throw Error(ExitCode::bug, "a proposal of a transition that proposes nothing was asked for");
}

}  // namespace stanley
