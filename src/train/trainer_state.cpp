#include <ATen/ATen.h>

#include <cmath>

#include "chains/tensor_view.hpp"
#include "train/trainer.hpp"

namespace stanley {
std::vector<ArrayView> Trainer::arrays() {
  std::vector<ArrayView> views;
  const auto add_parameters = [&](const at::Tensor& flat, const std::string& prefix,
                                  const std::string& suffix) {
    for (const ParameterSlice& slice : optimizer_.slices()) {
      views.push_back(showing(slice.of(flat), {.name = prefix + slice.name + suffix}));
    }
  };
  add_parameters(optimizer_.values(), "parameters/", "");
  add_parameters(optimizer_.average(), "average/", "");
  add_parameters(optimizer_.first_moment(), "optimizer/", "/first_moment");
  add_parameters(optimizer_.second_moment(), "optimizer/", "/second_moment");
  for (const NamedTensor& buffer : network_->buffers()) {
    views.push_back(showing(buffer.value, {.name = "buffers/" + buffer.name}));
  }
  const std::vector<ArrayView> chains = bank_.arrays();
  views.insert(views.end(), chains.begin(), chains.end());
  return views;
}

Progress Trainer::progress() const {
  return {{"iteration", iteration_},
          {"attempt", std::int64_t{attempt_}},
          {"samples_seen", samples_seen_},
          {"chain_steps", chain_steps_},
          {"schedule_end", schedule_end_},
          {"learning_rate_factor", std::ldexp(1.0, -static_cast<int>(attempt_))},
          {"gap_count", gap_.band.count},
          {"gap_last", gap_.last},
          {"gap_mean", gap_.band.mean},
          {"gap_variance", gap_.band.variance},
          {"gap_covariance", gap_.covariance}};
}

void Trainer::restore(const Progress& progress) {
  iteration_ = integer_of(progress, "iteration");
  samples_seen_ = integer_of(progress, "samples_seen");
  chain_steps_ = integer_of(progress, "chain_steps");
  schedule_end_ = integer_of(progress, "schedule_end");
  gap_ = {{real_of(progress, "gap_count"), real_of(progress, "gap_mean"),
           real_of(progress, "gap_variance")},
          real_of(progress, "gap_last"),
          real_of(progress, "gap_covariance")};
  load_weights();
}

}  // namespace stanley
