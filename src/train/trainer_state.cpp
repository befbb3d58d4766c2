#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "train/trainer.hpp"

namespace stanley {
namespace {

/// Lets the view show all of a float32 tensor, on whatever device.
ArrayView showing(const at::Tensor& tensor, ArrayView view) {
  if (tensor.is_cpu()) {
    view.data = tensor.mutable_data_ptr<float>();
    return view;
  }
  view.copy_out = [tensor](void* to) {
    at::from_blob(to, tensor.sizes(), at::kFloat).copy_(tensor);
  };
  view.copy_in = [tensor](const void* from) {
    const c10::NoGradGuard no_gradient;
    tensor.copy_(at::from_blob(const_cast<void*>(from), tensor.sizes(), at::kFloat));
  };
  return view;
}

}  // namespace

std::vector<ArrayView> Trainer::arrays() {
  std::vector<ArrayView> views;
  const auto add_parameters = [&](const at::Tensor& flat, const std::string& prefix,
                                  const std::string& suffix) {
    for (const ParameterSlice& slice : optimizer_.slices()) {
      views.push_back(showing(flat.narrow(0, slice.offset, slice.count),
                              {.name = prefix + slice.name + suffix, .shape = slice.shape}));
    }
  };
  add_parameters(optimizer_.values(), "parameters/", "");
  add_parameters(optimizer_.average(), "average/", "");
  add_parameters(optimizer_.first_moment(), "optimizer/", "/first_moment");
  add_parameters(optimizer_.second_moment(), "optimizer/", "/second_moment");
  for (const NamedTensor& buffer : network_->buffers()) {
    views.push_back(showing(
        buffer.value, {.name = "buffers/" + buffer.name, .shape = buffer.value.sizes().vec()}));
  }
  const auto of_chains = [&](const std::string& name, ElementType type) {
    return ArrayView{.name = "chains/" + name,
                     .type = type,
                     .shape = {config_.chains.total},
                     .shards = shards_.total,
                     .first_shard = shards_.first,
                     .shard_count = shards_.count};
  };
  ArrayView state = of_chains("state", ElementType::float32);
  for (const std::int64_t extent : network_->state_shape()) state.shape.push_back(extent);
  views.push_back(showing(bank_.state(), std::move(state)));
  views.push_back(of_chains("age", ElementType::int64));
  views.back().data = bank_.ages().data();
  views.push_back(of_chains("restarts", ElementType::int64));
  views.back().data = bank_.restarts().data();
  return views;
}

Progress Trainer::progress() const {
  return {{"iteration", iteration_},
          {"attempt", std::int64_t{attempt_}},
          {"samples_seen", samples_seen_},
          {"chain_steps", chain_steps_},
          {"schedule_end", schedule_end_},
          {"learning_rate_factor", std::ldexp(1.0, -static_cast<int>(attempt_))},
          {"gap_count", gap_.count},
          {"gap_last", gap_.last},
          {"gap_mean", gap_.mean},
          {"gap_variance", gap_.variance},
          {"gap_covariance", gap_.covariance}};
}

void Trainer::restore(const Progress& progress) {
  iteration_ = integer_of(progress, "iteration");
  samples_seen_ = integer_of(progress, "samples_seen");
  chain_steps_ = integer_of(progress, "chain_steps");
  schedule_end_ = integer_of(progress, "schedule_end");
  gap_ = {real_of(progress, "gap_count"), real_of(progress, "gap_last"),
          real_of(progress, "gap_mean"), real_of(progress, "gap_variance"),
          real_of(progress, "gap_covariance")};
  load_weights();
}

}  // namespace stanley
