#include "sampler/pieces.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <vector>

namespace stanley {
namespace {

class PiecewiseTransition final : public Transition {
 public:
  PiecewiseTransition(const Pieces& pieces,
                      const std::function<std::unique_ptr<Transition>()>& make)
      : pieces_(pieces), whole_(make()), rest_(make()) {}

  std::vector<Memory> memory() const override { return whole_->memory(); }
  const std::vector<Column>& columns() const override { return whole_->columns(); }
  std::int64_t gradients(std::int64_t steps) const override { return whole_->gradients(steps); }
  void freeze() override {
    whole_->freeze();
    rest_->freeze();
  }

  at::Tensor advance(GradientEngine& engine, ChainBatch& batch, std::uint64_t first_step,
                     std::int64_t steps) override {
    const std::int64_t states = batch.state.size(0);
    std::vector<at::Tensor> statistics;
    std::int64_t largest = 0;
    pieces_.for_each(states, [&](std::int64_t first, std::int64_t count) {
      if (first == 0) largest = count;
      // Each keeps buffers for one number of chains, and perhaps a graph.
      Transition& transition = count == largest ? *whole_ : *rest_;
      ChainBatch piece = batch.narrow(first, count);
      statistics.push_back(transition.advance(engine, piece, first_step, steps));
    });
    return statistics.size() == 1 ? statistics.front() : at::cat(statistics, 1);
  }

 private:
  Pieces pieces_;
  std::unique_ptr<Transition> whole_, rest_;
};

}  // namespace

void Pieces::for_each(std::int64_t states,
                      const std::function<void(std::int64_t, std::int64_t)>& piece) const {
  for (std::int64_t first = 0; first < states;) {
    const std::int64_t end = group > 0 ? std::min(states, (first / group + 1) * group) : states;
    const std::int64_t count = std::min(most, end - first);
    piece(first, count);
    first += count;
  }
}

std::int64_t states_at_once(std::int64_t active, std::int64_t dimension, at::Device device) {
  const std::int64_t elements = std::int64_t{1} << (device.is_cpu() ? 22 : 18);
  // A network's layers may be far wider than a state of two elements.
  constexpr std::int64_t most = 16384;
  return std::max({active, std::min(elements / dimension, most), std::int64_t{1}});
}

std::unique_ptr<Transition> make_piecewise_transition(
    const Pieces& pieces, const std::function<std::unique_ptr<Transition>()>& make) {
  return std::make_unique<PiecewiseTransition>(pieces, make);
}

at::Tensor energies_of(GradientEngine& engine, const Points& points, const Pieces& pieces) {
  const c10::NoGradGuard no_gradient;
  const std::int64_t states = points.state.size(0);
  at::Tensor energies = at::empty({states}, points.state.options().dtype(at::kDouble));
  pieces.for_each(states, [&](std::int64_t first, std::int64_t count) {
    const at::Tensor condition =
        points.condition.defined() ? points.condition.narrow(0, first, count) : at::Tensor();
    at::Tensor energy = energies.narrow(0, first, count);
    engine.evaluate({points.state.narrow(0, first, count), condition}, energy, nullptr);
  });
  return energies;
}

at::Tensor gradients_of(GradientEngine& engine, const at::Tensor& states, const Pieces& pieces) {
  const c10::NoGradGuard no_gradient;
  at::Tensor gradients = at::empty_like(states);
  pieces.for_each(states.size(0), [&](std::int64_t first, std::int64_t count) {
    const at::Tensor piece = states.narrow(0, first, count).contiguous();
    at::Tensor energy = at::empty({count}, piece.options().dtype(at::kDouble)),
               gradient = at::empty_like(piece);
    engine.evaluate({piece, {}}, energy, &gradient);
    gradients.narrow(0, first, count).copy_(gradient);
  });
  return gradients;
}

}  // namespace stanley
