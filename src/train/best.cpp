#include "train/best.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "config/error.hpp"
#include "storage/json_values.hpp"

namespace stanley {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Best, iteration, kid)

namespace {

constexpr const char* features_text = "evaluation_features";
constexpr const char* chains_progress = "evaluation_chains";

/// What rank 0 found in the files.
struct Recalled {
  std::vector<Best> bests{};
  std::string features{};
  std::int64_t chains = 0;
  bool told_otherwise = false;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Recalled, bests, features, chains, told_otherwise)

std::optional<CheckpointHeader> header_if_there(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  try {
    return read_checkpoint_header(path);
  } catch (const Error&) {
    return std::nullopt;  // what can be read may tell enough
  }
}

}  // namespace

bool Bests::take(std::int64_t iteration, double kid) {
  if (std::isnan(kid) || (!bests_.empty() && kid >= bests_.back().kid)) return false;
  bests_.push_back({iteration, kid});
  return true;
}

std::optional<Best> Bests::newest() const {
  return bests_.empty() ? std::nullopt : std::optional(bests_.back());
}

void Bests::go_back(std::int64_t iteration) {
  std::erase_if(bests_, [&](const Best& best) { return best.iteration > iteration; });
}

void Bests::forget(std::int64_t iteration) {
  std::erase_if(bests_, [&](const Best& best) { return best.iteration == iteration; });
}

std::set<std::int64_t> Bests::kept(const std::set<std::int64_t>& targets) const {
  std::set<std::int64_t> kept;
  if (!bests_.empty()) kept.insert(bests_.back().iteration);
  for (const std::int64_t target : targets) {
    Bests then = *this;
    then.go_back(target);
    if (const auto best = then.newest()) kept.insert(best->iteration);
  }
  return kept;
}

void Bests::add_to(Progress& progress, std::map<std::string, std::string>& texts) const {
  if (bests_.empty()) return;
  progress[best_progress] = bests_.back().iteration;
  progress["best_kid"] = bests_.back().kid;
  texts[features_text] = features_;
  if (chains_ > 0) progress[chains_progress] = chains_;
}

bool Bests::learn(const CheckpointHeader& header) {
  const auto iteration = best_iteration(header.progress);
  if (!iteration) return true;
  const std::string told_in = header.text(features_text).value_or("");
  // Earlier releases don't tell how many chains: as many as now.
  const std::int64_t told_of = header.progress.contains(chains_progress)
                                   ? integer_of(header.progress, chains_progress)
                                   : chains_;
  if (features_.empty()) {
    features_ = told_in;
    chains_ = told_of;
  }
  if (features_ != told_in || chains_ != told_of) return false;
  const Best best{*iteration, real_of(header.progress, "best_kid")};
  if (std::ranges::find(bests_, best) == bests_.end()) bests_.push_back(best);
  return true;
}

Bests recall_bests(Communicator& world, const std::string& directory, std::int64_t iteration,
                   const std::set<std::int64_t>& targets, const Bests& asking,
                   bool& told_otherwise) {
  const Recalled found = from_first_rank(world, [&] {
    Bests bests = asking;
    Recalled recalled;
    std::set<std::int64_t> remember = targets;
    remember.insert(iteration);
    for (const std::int64_t at : remember) {
      if (at > iteration) continue;
      const auto header = header_if_there(checkpoint_path(directory, at));
      if (header && !bests.learn(*header)) recalled.told_otherwise = true;
    }
    for (const Best& best : bests.all()) {
      std::error_code ignored;
      if (std::filesystem::exists(checkpoint_path(directory, best.iteration), ignored)) {
        recalled.bests.push_back(best);
      }
    }
    recalled.features = bests.features();
    recalled.chains = bests.chains();
    return recalled;
  });
  told_otherwise = found.told_otherwise;
  Bests bests(found.features, found.chains);
  for (const Best& best : found.bests) bests.take(best.iteration, best.kid);
  return bests;
}

}  // namespace stanley
