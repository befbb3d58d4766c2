#include "train/account.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "sampler/device_update.hpp"

namespace stanley {
namespace {

struct PhaseColumn {
  const char* name;
  double IterationRecord::*seconds;
};

/// In the order of Phase.
constexpr std::array<PhaseColumn, 4> columns{
    {{"chains", &IterationRecord::seconds_chains},
     {"weight gradient", &IterationRecord::seconds_gradient},
     {"reduction", &IterationRecord::seconds_reduction},
     {"weight update", &IterationRecord::seconds_gradient}}};

const PhaseColumn& column_of(Phase phase) { return columns.at(static_cast<std::size_t>(phase)); }

}  // namespace

void Account::enter(Phase phase) {
  end_phase();
  phase_ = phase;
  activity_.enter(column_of(phase).name);
}

void Account::end_phase() {
  if (!phase_) return;
  if (*phase_ == Phase::chains) {
    seen_.chains = statistics_.sum();
    wait_for(device_);
  }
  record_.*column_of(*phase_).seconds += watch_.lap();
}

void Account::energies(const EnergySums& sums, double noise, std::int64_t noise_probes) {
  seen_.energies = sums;
  seen_.noise_energy = noise;
  seen_.noise_probes = noise_probes;
}

void Account::summarize(const Bank& bank, const at::Tensor& moved, Communicator& communicator) {
  seen_.after = moved;
  seen_.ages = bank.visited_ages();
  seen_.restarts = bank.restarts_in_visit();
  seen_.seconds = record_.seconds_chains + record_.seconds_gradient;
  stanley::summarize(config_, seen_, communicator, record_);
}

void Account::update(double gradient_norm, double parameter_norm) {
  record_.gradient_norm = gradient_norm;
  record_.parameter_norm = parameter_norm;
}

IterationRecord Account::close(std::int64_t finished) {
  end_phase();
  record_.iteration = finished;
  record_.seconds_reduction = std::max(0.0, record_.seconds_reduction - record_.seconds_waiting);
  record_.seconds_iteration = total_.lap();
  record_.chain_steps_per_second = static_cast<double>(config_.chains.active) *
                                   static_cast<double>(config_.sampler.steps) /
                                   record_.seconds_iteration;
  return record_;
}

}  // namespace stanley
