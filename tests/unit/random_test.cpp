#include "random/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <numbers>
#include <numeric>
#include <vector>

#include "random/normal.hpp"
#include "random/permutation.hpp"

// Statistical tests: the null hypothesis is that the numbers are independent and exactly of their
// law; the seeds are fixed, so a test that passes once passes for ever. Unless a test says
// otherwise its statistic is standard normal under the null, and 4.5 is a false-alarm rate of 7e-6.
namespace {

using namespace stanley::random;

constexpr double alarm = 4.5;
constexpr Key test_key{.seed = 20, .stream = Stream::chain_noise, .attempt = 0};

std::vector<double> draw(Key key, std::uint32_t id, std::uint64_t step, std::uint32_t count) {
  std::vector<double> numbers;
  for (std::uint32_t b = 0; b < (count + 3) / 4; ++b) {
    for (const float value : normals(key, id, step, b).value) {
      numbers.push_back(value);
    }
  }
  numbers.resize(count);
  return numbers;
}

/// Correlation of two samples of mean 0 and variance 1, times √n.
double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const std::size_t n = std::min(a.size(), b.size());
  return std::inner_product(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(n), b.begin(), 0.0) /
         std::sqrt(static_cast<double>(n));
}

/// Box and Muller in double precision on the same words.
std::array<double, 2> exact_pair(std::uint32_t first, std::uint32_t second) {
  // 1 − u is exact in double, so log1p keeps the small radii.
  const double minus_log = -std::log1p(-(4294967295.0 - first + 0.5) * 0x1p-32);
  const double radius = std::sqrt(2.0 * minus_log);
  const double angle = 2.0 * std::numbers::pi * (second + 0.5) * 0x1p-32;
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

/// Pearson's statistic of equally likely cells as a standard normal number (Wilson and Hilferty).
template <class Counts>
double chi_square_score(const Counts& counts, double cells, double total) {
  double chi = 0;
  double seen = 0;
  for (const auto& [cell, count] : counts) {
    chi += (count - total / cells) * (count - total / cells) / (total / cells);
    seen += 1;
  }
  chi += (cells - seen) * total / cells;
  const double freedom = cells - 1;
  return (std::cbrt(chi / freedom) - (1 - 2 / (9 * freedom))) / std::sqrt(2 / (9 * freedom));
}

struct KnownAnswer {
  std::array<std::uint32_t, 4> counter;
  std::array<std::uint32_t, 2> key;
  std::array<std::uint32_t, 4> words;
};

// Random123, tests/kat_vectors, the lines "philox4x32 10".
constexpr std::array<KnownAnswer, 3> known_answers{{
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
}};

TEST(Random, BlockGivesTheKnownAnswersOfPhilox) {
  for (const KnownAnswer& known : known_answers) {
    const Key key{.seed = known.key[0],
                  .stream = static_cast<Stream>(known.key[1] >> 16),
                  .attempt = known.key[1] & 0xffffU};
    const std::uint64_t step =
        static_cast<std::uint64_t>(known.counter[3]) << 32 | known.counter[2];
    const Words words = block(key, known.counter[1], step, known.counter[0]);
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(words.value[i], known.words[i]);
    }
  }
}

TEST(Random, UniformNumbersStayInsideTheOpenInterval) {
  EXPECT_EQ(to_uniform(0), 0x1p-24F);
  EXPECT_EQ(to_uniform(0xffffffffU), 1.0F - 0x1p-24F);
  EXPECT_EQ(to_uniform_double(0, 0), 0x1p-53);
  EXPECT_EQ(to_uniform_double(0xffffffffU, 0xffffffffU), 1.0 - 0x1p-53);
}

TEST(Random, UniformNumbersFillTheIntervalEvenly) {
  constexpr int cells = 1000;
  constexpr std::uint32_t total = 1U << 20;
  std::map<int, double> narrow;
  std::map<int, double> wide;
  for (std::uint32_t i = 0; i < total; ++i) {
    ++narrow[static_cast<int>(cells * static_cast<double>(uniform(test_key, 3, 5, i)))];
    ++wide[static_cast<int>(cells * uniform_double(test_key, 4, 5, i))];
  }
  EXPECT_LT(std::abs(chi_square_score(narrow, cells, total)), alarm);
  EXPECT_LT(std::abs(chi_square_score(wide, cells, total)), alarm);
}

TEST(Random, AnElementIsItsPlaceInItsBlock) {
  for (std::uint32_t element = 0; element < 37; ++element) {
    EXPECT_EQ(normal(test_key, 7, 11, element),
              normals(test_key, 7, 11, element / 4).value[element % 4]);
    EXPECT_EQ(uniform(test_key, 7, 11, element),
              to_uniform(block(test_key, 7, 11, element / 4).value[element % 4]));
  }
}

TEST(Normal, AgreesWithDoublePrecisionOnTheSameBits) {
  // Words at both ends, where a logarithm is hardest, at every octant's border, and a coarse comb.
  std::vector<std::uint32_t> words;
  for (std::uint32_t i = 0; i < 300; ++i) {
    for (std::uint32_t octant = 0; octant < 8; ++octant) {
      words.push_back((octant << 29) + i);
      words.push_back((octant << 29) - 1 - i);
    }
    words.push_back(0xAAAAAAAAU - 150 + i);
  }
  for (std::uint64_t word = 0; word < (1ULL << 32); word += 1000003) {
    words.push_back(static_cast<std::uint32_t>(word));
  }
  double largest = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::uint32_t first = words[i];
    const std::uint32_t second = words[(i * 7919) % words.size()];
    const Normals fast = to_normals({{first, second, second, first}});
    const auto a = exact_pair(first, second);
    const auto b = exact_pair(second, first);
    largest = std::max({largest, std::abs(fast.value[0] - a[0]), std::abs(fast.value[1] - a[1]),
                        std::abs(fast.value[2] - b[0]), std::abs(fast.value[3] - b[1])});
  }
  EXPECT_LT(largest, 1e-6);  // two units in the last place of the largest numbers
}

TEST(Normal, SquareRootIsRightToHalfAUnit) {
  double largest = 0;
  for (std::int32_t bits = 0x3f800000; bits < 0x40800000; bits += 3) {
    const float x = detail::from_bits(bits);
    const double exact = std::sqrt(static_cast<double>(x));
    largest = std::max(largest, std::abs(detail::square_root(x) - exact) * 0x1p23);
  }
  EXPECT_LT(largest, 0.51);
  EXPECT_EQ(detail::square_root(0.0F), 0.0F);
  EXPECT_EQ(detail::square_root(1.0F), 1.0F);
  EXPECT_TRUE(std::isnan(detail::square_root(std::nanf(""))));
}

TEST(Normal, MomentsAreThoseOfTheNormalLaw) {
  constexpr std::uint32_t count = 1U << 22;
  const std::vector<double> numbers = draw(test_key, 1, 1, count);
  std::array<double, 4> sums{};
  for (const double x : numbers) {
    sums[0] += x;
    sums[1] += x * x;
    sums[2] += x * x * x;
    sums[3] += x * x * x * x;
  }
  const double root = std::sqrt(static_cast<double>(count));
  // Variances of x, x², x³ and x⁴ about 0, 1, 0 and 3: 1, 2, 15 and 96.
  EXPECT_LT(std::abs(sums[0] / root), alarm);
  EXPECT_LT(std::abs((sums[1] - count) / root) / std::sqrt(2.0), alarm);
  EXPECT_LT(std::abs(sums[2] / root) / std::sqrt(15.0), alarm);
  EXPECT_LT(std::abs((sums[3] - 3.0 * count) / root) / std::sqrt(96.0), alarm);
}

TEST(Normal, TailsHaveTheRightWeight) {
  constexpr std::uint32_t count = 1U << 24;
  std::array<double, 6> beyond{};
  for (const double x : draw(test_key, 2, 1, count)) {
    for (int sigma = 1; sigma <= 5 && std::abs(x) > sigma; ++sigma) {
      ++beyond[static_cast<std::size_t>(sigma)];
    }
  }
  for (int sigma = 1; sigma <= 5; ++sigma) {
    const double p = std::erfc(sigma / std::numbers::sqrt2);
    const double score =
        (beyond[static_cast<std::size_t>(sigma)] - count * p) / std::sqrt(count * p * (1 - p));
    EXPECT_LT(std::abs(score), alarm) << sigma << " sigma";
  }
}

TEST(Normal, TheFarTailFollowsTheExactLaw) {
  // P(radius > r) = exp(−r²/2) must hold word for word: the k smallest of the 2^32 words of a
  // radius are those beyond r_k = √(−2·log(k/2^32)).
  for (const std::uint32_t k : {1U, 10U, 100U, 430U, 4300U, 1000000U}) {
    const double border = -2.0 * std::log(k * 0x1p-32);
    EXPECT_GT(detail::minus_two_log(k - 1), border) << k;
    EXPECT_LT(detail::minus_two_log(k), border) << k;
  }
  EXPECT_LT(to_normals({{0, 0, 0, 0}}).value[0], 6.764F);
}

TEST(Normal, PassesKolmogorovsTest) {
  constexpr std::uint32_t count = 1U << 20;
  std::vector<double> numbers = draw(test_key, 3, 1, count);
  std::sort(numbers.begin(), numbers.end());
  double distance = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const double p = 0.5 * std::erfc(-numbers[i] / std::numbers::sqrt2);
    distance = std::max({distance, (i + 1.0) / count - p, p - static_cast<double>(i) / count});
  }
  EXPECT_LT(distance * std::sqrt(static_cast<double>(count)), 2.5);  // false alarms: 2·exp(−12.5)
}

TEST(Normal, NeighboursAreUncorrelated) {
  constexpr std::uint32_t count = 1U << 20;
  const std::vector<double> base = draw(test_key, 8, 100, count);
  for (std::ptrdiff_t lag = 1; lag <= 8; ++lag) {
    const std::vector<double> shifted(base.begin() + lag, base.end());
    EXPECT_LT(std::abs(correlation(base, shifted)), alarm) << "elements " << lag << " apart";
  }
  Key other_seed = test_key;
  ++other_seed.seed;
  Key other_stream = test_key;
  other_stream.stream = Stream::data_noise;
  Key other_attempt = test_key;
  ++other_attempt.attempt;
  EXPECT_LT(std::abs(correlation(base, draw(test_key, 9, 100, count))), alarm) << "ids";
  EXPECT_LT(std::abs(correlation(base, draw(test_key, 8, 101, count))), alarm) << "steps";
  EXPECT_LT(std::abs(correlation(base, draw(test_key, 8, 100 + (1ULL << 32), count))), alarm)
      << "steps that differ in the high word";
  EXPECT_LT(std::abs(correlation(base, draw(other_seed, 8, 100, count))), alarm) << "seeds";
  EXPECT_LT(std::abs(correlation(base, draw(other_stream, 8, 100, count))), alarm) << "streams";
  EXPECT_LT(std::abs(correlation(base, draw(other_attempt, 8, 100, count))), alarm) << "attempts";
}

TEST(Normal, SquaresOfNeighboursAreUncorrelated) {
  // The two numbers of a pair share a radius: only the angle makes them independent.
  constexpr std::uint32_t count = 1U << 20;
  std::vector<double> squares = draw(test_key, 10, 1, count);
  for (double& x : squares) {
    x = (x * x - 1) / std::numbers::sqrt2;
  }
  for (std::ptrdiff_t lag = 1; lag <= 4; ++lag) {
    const std::vector<double> shifted(squares.begin() + lag, squares.end());
    EXPECT_LT(std::abs(correlation(squares, shifted)), alarm) << "elements " << lag << " apart";
  }
}

std::vector<std::uint64_t> images(std::uint64_t n, Key key, std::uint64_t epoch,
                                  std::uint32_t id = 0) {
  std::vector<std::uint64_t> all(n);
  for (std::uint64_t i = 0; i < n; ++i) {
    all[i] = permute(i, n, key, epoch, id);
  }
  return all;
}

TEST(Permutation, IsABijection) {
  std::vector<std::uint64_t> sizes{1000, 1023, 1024, 1025, 4096, 60000};
  for (std::uint64_t n = 1; n <= 300; ++n) {
    sizes.push_back(n);
  }
  for (const std::uint64_t n : sizes) {
    std::vector<std::uint64_t> all = images(n, test_key, 5);
    std::sort(all.begin(), all.end());
    std::vector<std::uint64_t> identity(n);
    std::iota(identity.begin(), identity.end(), std::uint64_t{0});
    EXPECT_EQ(all, identity) << n;
  }
}

TEST(Permutation, HoldsForTheLargestRanges) {
  for (const std::uint64_t n : {(1ULL << 40) + 7, 1ULL << 62, (1ULL << 62) + 1, ~0ULL}) {
    std::vector<std::uint64_t> some;
    for (std::uint64_t i = 0; i < 1000; ++i) {
      some.push_back(permute(n - 1 - i, n, test_key, 0));
      EXPECT_LT(some.back(), n);
    }
    std::sort(some.begin(), some.end());
    EXPECT_EQ(std::adjacent_find(some.begin(), some.end()), some.end());
  }
}

TEST(Permutation, DiffersByKeyEpochAndId) {
  const std::vector<std::uint64_t> base = images(1000, test_key, 1);
  Key other_seed = test_key;
  ++other_seed.seed;
  Key other_stream = test_key;
  other_stream.stream = Stream::data_order;
  for (const auto& other : {images(1000, test_key, 2), images(1000, other_seed, 1),
                            images(1000, other_stream, 1), images(1000, test_key, 1, 1)}) {
    int same = 0;
    for (std::size_t i = 0; i < base.size(); ++i) {
      same += base[i] == other[i] ? 1 : 0;
    }
    EXPECT_LT(same, 12);  // Poisson with mean 1: false alarms 1e-9
  }
}

TEST(Permutation, EveryOrderIsEquallyLikely) {
  // 4 fills its domain, 5 and 6 walk in a domain of 16.
  for (const std::uint64_t n : {3U, 4U, 5U, 6U}) {
    constexpr std::uint64_t epochs = 60000;
    std::map<std::vector<std::uint64_t>, double> counts;
    for (std::uint64_t epoch = 0; epoch < epochs; ++epoch) {
      ++counts[images(n, test_key, epoch)];
    }
    const double orders = std::tgamma(static_cast<double>(n) + 1);
    EXPECT_LT(std::abs(chi_square_score(counts, orders, epochs)), alarm) << n;
  }
}

TEST(Permutation, PairsLandEverywhereEquallyOften) {
  // Where two neighbours land in a domain that is exactly a power of four.
  constexpr std::uint64_t n = 16;
  constexpr std::uint64_t epochs = 200000;
  std::map<std::pair<std::uint64_t, std::uint64_t>, double> counts;
  for (std::uint64_t epoch = 0; epoch < epochs; ++epoch) {
    ++counts[{permute(6, n, test_key, epoch), permute(7, n, test_key, epoch)}];
  }
  EXPECT_LT(std::abs(chi_square_score(counts, n * (n - 1), epochs)), alarm);
}

}  // namespace
