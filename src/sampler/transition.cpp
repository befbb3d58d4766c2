#include "sampler/transition.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace stanley {

namespace {

/// The arrays that belong to chains and move with them: those that there are.
std::vector<at::Tensor> arrays_of(const ChainBatch& batch) {
  std::vector<at::Tensor> arrays{batch.state};
  for (const at::Tensor& one : {batch.condition, batch.step_size, batch.temperature}) {
    if (one.defined()) arrays.push_back(one);
  }
  arrays.insert(arrays.end(), batch.memory.begin(), batch.memory.end());
  return arrays;
}

/// What `part` makes of each array.
template <typename Part>
ChainBatch each(const ChainBatch& batch, const Part& part) {
  ChainBatch result{part(batch.state), part(batch.ids)};
  if (batch.condition.defined()) result.condition = part(batch.condition);
  if (batch.step_size.defined()) result.step_size = part(batch.step_size);
  if (batch.temperature.defined()) result.temperature = part(batch.temperature);
  for (const at::Tensor& one : batch.memory) result.memory.push_back(part(one));
  return result;
}

}  // namespace

ChainBatch ChainBatch::narrow(std::int64_t first, std::int64_t count) const {
  return each(*this, [&](const at::Tensor& whole) { return whole.narrow(0, first, count); });
}

ChainBatch ChainBatch::select(const at::Tensor& rows) const {
  return each(*this, [&](const at::Tensor& whole) { return whole.index_select(0, rows); });
}

void ChainBatch::put(const at::Tensor& rows, const ChainBatch& other) const {
  const std::vector<at::Tensor> to = arrays_of(*this), from = arrays_of(other);
  for (std::size_t i = 0; i < to.size(); ++i) to[i].index_copy_(0, rows, from[i]);
}

ChainBatch zero_chains(std::int64_t first, std::int64_t count, const StateShape& state_shape,
                       at::Device device) {
  StateShape shape{count};
  shape.insert(shape.end(), state_shape.begin(), state_shape.end());
  return {at::zeros(shape, at::TensorOptions(at::kFloat).device(device)),
          at::arange(first, first + count, at::TensorOptions(at::kLong).device(device))};
}

std::vector<at::Tensor> start_memory(const std::vector<Memory>& kept, const at::Tensor& state) {
  std::vector<at::Tensor> memory;
  for (const Memory& one : kept) {
    const at::IntArrayRef shape = state.sizes().slice(0, one.like_state ? state.sizes().size() : 1);
    memory.push_back(at::full(shape, one.start, state.options().dtype(one.type)));
  }
  return memory;
}

std::size_t column_number(const Transition& transition, const std::string& name) {
  const std::vector<Column>& columns = transition.columns();
  const auto column = std::ranges::find(columns, name, &Column::name);
  if (column == columns.end()) throw std::out_of_range("no column " + name);
  return static_cast<std::size_t>(column - columns.begin());
}

std::vector<double> sums_of(const at::Tensor& statistics) {
  const at::Tensor host = statistics.to(at::kCPU).contiguous();
  const auto* value = host.const_data_ptr<double>();
  std::vector<double> sums(static_cast<std::size_t>(host.size(0)), 0.0);
  for (double& sum : sums) {
    for (std::int64_t i = 0; i < host.size(1); ++i) sum += *value++;
  }
  return sums;
}

std::vector<double> products_of(const at::Tensor& statistics, const std::vector<Column>& columns) {
  const at::Tensor host = statistics.to(at::kCPU).contiguous();
  const std::int64_t chains = host.size(1);
  const auto row = [&](std::size_t column) {
    return host.const_data_ptr<double>() + static_cast<std::int64_t>(column) * chains;
  };
  std::vector<double> products;
  for (std::size_t column = 0; column < columns.size(); ++column) {
    if (!columns[column].with_error) continue;
    const double *a = row(column), *b = row(*columns[column].weight);
    products.insert(products.end(), {std::inner_product(a, a + chains, a, 0.0),
                                     std::inner_product(a, a + chains, b, 0.0),
                                     std::inner_product(b, b + chains, b, 0.0)});
  }
  return products;
}

std::unique_ptr<Transition> make_transition(const SamplerConfig& config, random::Key key,
                                            std::function<void()> stepped) {
  if (config.type == TransitionType::hmc) {
    return make_hmc_transition(config, key, std::move(stepped));
  }
  const bool known = config.type == TransitionType::stanley ||
                     config.type == TransitionType::langevin ||
                     config.type == TransitionType::gradient_descent;
  return known && !config.metropolis && !config.drift_correction
             ? make_langevin_transition(config, key, std::move(stepped))
             : make_proposed_transition(config, key, std::move(stepped));
}

}  // namespace stanley
