#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "chains/tensor_view.hpp"
#include "chains/upsample.hpp"
#include "energy/growth.hpp"
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
  Progress progress{{"iteration", iteration_},
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
  if (stage_began_ > 0) progress["stage_began"] = stage_began_;
  return progress;
}

void Trainer::take_counters(const Progress& progress) {
  iteration_ = integer_of(progress, "iteration");
  samples_seen_ = integer_of(progress, "samples_seen");
  chain_steps_ = integer_of(progress, "chain_steps");
  schedule_end_ = integer_of(progress, "schedule_end");
}

void Trainer::expect(const Progress& progress) {
  stage_began_ = progress.contains("stage_began") ? integer_of(progress, "stage_began") : 0;
  bank_.expect_stage(stage_began_);
}

void Trainer::restore(const Progress& progress) {
  take_counters(progress);
  gap_ = {{real_of(progress, "gap_count"), real_of(progress, "gap_mean"),
           real_of(progress, "gap_variance")},
          real_of(progress, "gap_last"),
          real_of(progress, "gap_covariance")};
  load_weights();
}

void Trainer::begin_stage(const StageEnd& before) {
  const c10::NoGradGuard no_gradient;
  take_counters(before.progress);
  stage_began_ = iteration_;
  std::vector<at::Tensor> fresh;
  for (const at::Tensor& value : network_->parameter_values()) fresh.push_back(value.to(at::kCPU));
  const std::vector<at::Tensor> grown =
      grow(*before.network->plan(), before.network->parameter_values(), *network_->plan(), fresh);
  for (std::size_t i = 0; i < grown.size(); ++i) {
    optimizer_.slices()[i].of(optimizer_.values()).copy_(grown[i]);
  }
  optimizer_.average().copy_(optimizer_.values());
  bank_.begin_stage(upsample_twice(before.states), before.restarts, iteration_);
  load_weights();
}

}  // namespace stanley
