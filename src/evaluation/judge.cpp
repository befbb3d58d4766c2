#include "evaluation/judge.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <optional>

#include "evaluation/distances.hpp"
#include "parallel/agree.hpp"

namespace stanley {
namespace {

bool is_finite(const Estimate& estimate) {
  return std::ranges::all_of(std::array{estimate.value, estimate.low, estimate.high},
                             [](const auto& one) { return !one || std::isfinite(*one); });
}

/// The classes that are judged together: all of them, or one.
class Judging {
 public:
  Judging(const at::Tensor& draws, const SortedStates& states, const Reference& reference,
          const PairTable& table)
      : draws_(draws), states_(states), reference_(reference), table_(table) {
    if (reference.gaussian) frechet_.emplace(*reference.gaussian);
  }

  ClassResult all() const {
    std::vector<std::int64_t> classes(static_cast<std::size_t>(states_.sorting.classes));
    std::iota(classes.begin(), classes.end(), 0);
    ClassResult result = of(all_ages(states_), classes);
    result.name = "all";
    add_manifold(result, std::nullopt);
    add_frechet(result, draws_);
    if (frechet_ && result.fid)
      result.fid_extrapolated = frechet_->extrapolated(draws_, *result.fid);
    return result;
  }

  ClassResult one(const AgeClass& ages, std::int64_t number) const {
    ClassResult result = of(ages, {number});
    result.name = ages.name();
    add_manifold(result, number);
    add_frechet(result, draws_.index_select(0, at::tensor(ages.states, at::kLong)));
    return result;
  }

 private:
  ClassResult of(const AgeClass& ages, const std::vector<std::int64_t>& classes) const {
    ClassResult result;
    result.ages = ages.ages;
    result.states = static_cast<std::int64_t>(ages.states.size());
    const Estimate kid = kernel_distance(table_, states_.sorting, reference_, classes);
    if (!is_finite(kid)) {
      result.remarks.emplace_back("no KID: the features are too large for its kernel");
      return result;
    }
    result.kid = kid.value;
    result.kid_low = kid.low;
    result.kid_high = kid.high;
    if (!kid.value) {
      result.remarks.emplace_back("no KID: it takes states of two chains");
    } else if (!kid.low) {
      result.remarks.emplace_back("no interval of KID: too few chains to leave some out");
    }
    return result;
  }

  void add_manifold(ClassResult& result, std::optional<std::int64_t> only_class) const {
    if (result.states <= neighbours_of_a_ball) {
      result.remarks.push_back(
          fmt::format("no precision, recall, density and coverage: they take more than {} states",
                      neighbours_of_a_ball));
      return;
    }
    const Manifold found = manifold(table_, states_.sorting, only_class);
    result.precision = found.precision;
    result.recall = found.recall;
    result.density = found.density;
    result.coverage = found.coverage;
  }

  void add_frechet(ClassResult& result, const at::Tensor& draws) const {
    if (frechet_ && draws.size(0) > draws.size(1)) {
      result.fid = frechet_->to(draws);
      return;
    }
    const bool images = !frechet_;
    result.remarks.push_back(
        fmt::format("no FID: its covariance takes more {} than the {} features, "
                    "and there are {}",
                    images ? "images of the reference" : "states", draws.size(1),
                    images ? reference_.features.size(0) : draws.size(0)));
  }

  const at::Tensor& draws_;
  const SortedStates& states_;
  const Reference& reference_;
  const PairTable& table_;
  std::optional<FrechetDistance> frechet_;
};

}  // namespace

std::vector<ClassResult> judge(const at::Tensor& draws, const SortedStates& states,
                               const Reference& reference, Communicator& communicator,
                               const ProgressOf& progress) {
  const PairTable table = compare_pairs(draws, states.sorting, reference, communicator, progress);
  std::vector<ClassResult> results;
  on_first_rank(communicator, [&] {
    const Judging judging(draws, states, reference, table);
    results.push_back(judging.all());
    const std::vector<AgeClass> classes = age_classes(states);
    for (std::size_t c = 0; c < classes.size(); ++c) {
      results.push_back(judging.one(classes[c], static_cast<std::int64_t>(c)));
    }
  });
  return results;
}

}  // namespace stanley
