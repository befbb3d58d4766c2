#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "evaluation/roc.hpp"

namespace stanley {

/// Which energy was computed, and with what.
struct EnergyUsed {
  std::string checkpoint;
  std::int64_t iteration = 0;
  std::string weights;  ///< "average" or "last"
  std::string digest;   ///< XXH3 of the digests of these weights, and of a user's network
  std::string device, arithmetic;
};

/// A mean with its 95 % interval, 1.96 standard errors to each side: for independent numbers.
struct Mean {
  double value = 0;
  std::optional<double> low{}, high{};  ///< none of a single number
};
Mean mean_of(const std::vector<double>& numbers);

/// Quantiles that are told of each set of energies.
inline constexpr double told_quantiles[] = {0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99};

/// The energies of one kind of states.
struct EnergySet {
  std::string name;         ///< "training", "test", "chains", "noise", or the path of a data file
  std::string data, split;  ///< where the states come from
  std::int64_t available = 0;    ///< of which these were taken
  std::vector<double> energies;  ///< at least one; all finite
};

/// The numbers of a set.
struct EnergySummary {
  std::string name, data, split;
  std::int64_t states = 0, available = 0;
  Mean mean{};
  double deviation = 0, lowest = 0, highest = 0;
  std::vector<double> quantiles{};        ///< as told_quantiles, linear between two numbers
  std::vector<std::int64_t> histogram{};  ///< over the edges of the report
};

/// How a set compares with the test set.
struct EnergyContrast {
  std::string name;
  Auroc auroc;
};

/// What energies tell of a model.
struct EnergyReport {
  std::vector<EnergySummary> sets;
  /// Of all sets' histograms, ascending; a bin has its lower edge, the last one both. They are the
  /// sixteenths of each set's distribution, so that each set is seen where it lies.
  std::vector<double> edges;
  std::optional<Mean> gap;            ///< mean of test − mean of training
  std::optional<Auroc> memorisation;  ///< of test above training: 0.5 where nothing is memorised
  std::vector<EnergyContrast> out_of_distribution;  ///< of each other set above test
  std::vector<std::string> remarks;                 ///< what is missing, and why
};

/// The numbers of these sets. Contrasts are made with those named "training" and "test", where they
/// are there; of noise, chains and all further sets against test.
EnergyReport report_energies(const std::vector<EnergySet>& sets);

/// The number below which a share q of the ascending numbers lies, linear between neighbours.
double quantile(const std::vector<double>& ascending, double q);

/// Counts of numbers between neighbouring edges; all lie within the first and the last.
std::vector<std::int64_t> histogram(const std::vector<double>& numbers,
                                    const std::vector<double>& edges);

nlohmann::ordered_json as_json(const EnergyUsed& used);
nlohmann::ordered_json as_json(const Mean& mean);
nlohmann::ordered_json as_json(const EnergyReport& report);

/// A table for people.
std::string as_text(const EnergyReport& report);

}  // namespace stanley
