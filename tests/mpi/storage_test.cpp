#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <numeric>

#include "storage/checkpoint.hpp"
#include "storage/digest.hpp"
#include "storage/draws.hpp"
#include "storage/hdf5.hpp"
#include "storage/transfer.hpp"
#include "test_session.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

Communicator& world() { return test_session().world(); }

constexpr std::int64_t chains = 64;
constexpr std::int64_t shards = 8;

/// Shards of this rank: contiguous, and not the same number on each where 8 can't be divided.
std::int64_t first_shard(std::int64_t total, int rank) { return total * rank / world().size(); }

/// A small run: a network, a bank dealt over the ranks, and arrays of unusual shapes.
struct State {
  explicit State(std::int64_t dealt = shards, int salt = 0) : shard_total(dealt) {
    first = first_shard(dealt, world().rank());
    count = first_shard(dealt, world().rank() + 1) - first;
    const auto local = static_cast<std::size_t>(chains / dealt * count);
    weight.resize(16 * 3 * 3);
    std::iota(weight.begin(), weight.end(), static_cast<float>(salt));
    bank.resize(local * 48);
    std::iota(bank.begin(), bank.end(), static_cast<float>(first * (chains / dealt) * 48 + salt));
    age.resize(local);
    std::iota(age.begin(), age.end(), first * (chains / dealt) + salt);
  }

  std::vector<ArrayView> views() {
    return {{.name = "parameters/layers.0.weight", .shape = {16, 1, 3, 3}, .data = weight.data()},
            {.name = "parameters/scalar", .type = ElementType::float64, .data = &scalar},
            {.name = "buffers/empty", .shape = {0, 3}},
            {.name = "chains/state",
             .shape = {chains, 3, 4, 4},
             .data = bank.data(),
             .shards = shard_total,
             .first_shard = first,
             .shard_count = count},
            {.name = "chains/age",
             .type = ElementType::int64,
             .shape = {chains},
             .data = age.data(),
             .shards = shard_total,
             .first_shard = first,
             .shard_count = count}};
  }

  std::int64_t shard_total;
  std::int64_t first{};
  std::int64_t count{};
  std::vector<float> weight;
  double scalar{0.1};
  std::vector<float> bank;
  std::vector<std::int64_t> age;
};

class StorageMpi : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "stanley-storage-XXXXXX").string();
    if (world().rank() == 0 && mkdtemp(name.data()) == nullptr) FAIL() << "no directory";
    directory_ = world().broadcast(name, 0);
  }

  void TearDown() override {
    world().barrier();
    if (world().rank() == 0) fs::remove_all(directory_);
  }

  CommitReport write(std::int64_t iteration, State& state, const FileOptions& options = {}) {
    CheckpointContents contents{.iteration = iteration, .arrays = state.views()};
    contents.progress = {{"iteration", iteration},
                         {"attempt", std::int64_t{-2}},
                         {"band", std::numeric_limits<double>::infinity()},
                         {"factor", 0.1}};
    contents.texts = {{"config", "run: {name: ünïcode}\n"}, {"versions", "{}"}};
    return write_checkpoint(world(), directory_, contents, options);
  }

  FoundCheckpoint find() { return find_checkpoint(world(), directory_, {}); }

  /// Runs `step` on rank 0 and lets the others wait for it.
  void alone(const std::function<void()>& step) {
    world().barrier();
    if (world().rank() == 0) step();
    world().barrier();
  }

  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(directory_)) {
      found.push_back(entry.path().filename().string());
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  /// Changes one byte where `pattern` stands in a file.
  static void flip(const std::string& path, std::span<const float> pattern) {
    std::ifstream in(path, std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(in)), {});
    const std::string wanted(reinterpret_cast<const char*>(pattern.data()), pattern.size_bytes());
    const auto at = bytes.find(wanted);
    ASSERT_NE(at, std::string::npos);
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    std::ofstream(path, std::ios::binary) << bytes;
  }

  std::string directory_;
};

/// The message of the Error that `step` must throw on every rank.
std::string failure(const std::function<void()>& step, ExitCode code = ExitCode::input_output) {
  try {
    step();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

TEST_F(StorageMpi, CheckpointComesBackBitwise) {
  State state;
  const CommitReport report = write(500, state);
  EXPECT_GT(report.bytes, chains * 48 * 4);
  EXPECT_EQ(names(), (std::vector<std::string>{"iteration-00000500.h5", "latest"}));
  EXPECT_EQ(fs::read_symlink(directory_ + "/latest"), "iteration-00000500.h5");

  const FoundCheckpoint found = find();
  ASSERT_TRUE(found.header);
  EXPECT_TRUE(found.passed_over.empty());
  EXPECT_EQ(found.header->iteration, 500);
  EXPECT_EQ(found.header->world_size, world().size());
  EXPECT_EQ(found.header->texts.at("config"), "run: {name: ünïcode}\n");
  EXPECT_EQ(std::get<std::int64_t>(found.header->progress.at("attempt")), -2);
  EXPECT_EQ(std::get<double>(found.header->progress.at("factor")), 0.1);
  EXPECT_TRUE(std::isinf(std::get<double>(found.header->progress.at("band"))));

  State other(shards, 7);
  other.scalar = 0;
  read_checkpoint(world(), *found.header, other.views(), Sharding::same, {});
  EXPECT_EQ(other.weight, state.weight);
  EXPECT_EQ(other.scalar, state.scalar);
  EXPECT_EQ(other.bank, state.bank);
  EXPECT_EQ(other.age, state.age);
}

TEST_F(StorageMpi, DigestsAreThoseOfTheShardsWhoeverHoldsThem) {
  State state;
  write(1, state);
  const auto header = find().header.value();
  const StoredArray& bank = *header.find("chains/state");
  std::vector<float> shard(chains / shards * 48);
  for (std::size_t i = 0; i < bank.digests.size(); ++i) {
    std::iota(shard.begin(), shard.end(), static_cast<float>(i * shard.size()));
    EXPECT_EQ(bank.digests[i], digest(std::as_bytes(std::span(shard))));
  }
}

TEST_F(StorageMpi, DamagedArrayIsPassedOver) {
  State state;
  State newer(shards, 1);
  write(1, state);
  write(2, newer);
  const std::vector<float> inside{1 + 48 * 60, 1 + 48 * 60 + 1, 1 + 48 * 60 + 2};
  alone([&] { flip(checkpoint_path(directory_, 2), inside); });
  const FoundCheckpoint found = find();
  ASSERT_TRUE(found.header);
  EXPECT_EQ(found.header->iteration, 1);
  ASSERT_EQ(found.passed_over.size(), 1U);
  EXPECT_NE(found.passed_over[0].path.find("iteration-00000002.h5"), std::string::npos);
  EXPECT_EQ(found.passed_over[0].reason,
            "array 'chains/state' doesn't agree with its digest in shard 7");

  // Read without looking for a better one, it fails on all ranks.
  const auto header = read_checkpoint_header(checkpoint_path(directory_, 2));
  EXPECT_NE(failure([&] {
              read_checkpoint(world(), header, state.views(), Sharding::same, {});
            }).find("chains/state"),
            std::string::npos);
}

TEST_F(StorageMpi, DamagedWeightsArePassedOver) {
  State state;
  write(1, state);
  alone([&] { flip(checkpoint_path(directory_, 1), std::vector<float>{100, 101, 102}); });
  const std::string message = failure([&] { find(); });
  EXPECT_NE(message.find("parameters/layers.0.weight"), std::string::npos) << message;
  EXPECT_NE(message.find("--resume"), std::string::npos) << message;
}

TEST_F(StorageMpi, TruncatedAndForeignFilesArePassedOver) {
  State state;
  for (const std::int64_t iteration : {1, 2, 3, 4}) write(iteration, state);
  alone([&] {
    const std::string path = checkpoint_path(directory_, 4);
    fs::resize_file(path, fs::file_size(path) - 1000);
    fs::resize_file(checkpoint_path(directory_, 3), 0);
    hdf5::File::create(checkpoint_path(directory_, 2)).close();
  });
  const FoundCheckpoint found = find();
  ASSERT_TRUE(found.header);
  EXPECT_EQ(found.header->iteration, 1);
  ASSERT_EQ(found.passed_over.size(), 3U);
  EXPECT_NE(found.passed_over[0].reason.find("truncated"), std::string::npos)
      << found.passed_over[0].reason;
  EXPECT_NE(found.passed_over[2].reason.find("no checkpoint"), std::string::npos);
}

TEST_F(StorageMpi, EmptyDirectoryHoldsNothing) {
  const FoundCheckpoint found = find();
  EXPECT_FALSE(found.header);
  EXPECT_TRUE(found.passed_over.empty());
  EXPECT_FALSE(find_checkpoint(world(), directory_ + "/not-there", {}).header);
}

TEST_F(StorageMpi, UnknownMajorVersionIsRefusedNotPassedOver) {
  State state;
  write(1, state);
  write(2, state);
  alone([&] {
    const auto file = hdf5::File::open(checkpoint_path(directory_, 2), hdf5::Mode::write);
    H5Adelete(file.id(), "schema_version");
    hdf5::write_attribute(file.id(), "schema_version", std::string("2.0"));
  });
  EXPECT_NE(failure([&] { find(); }).find("schema version 2.0"), std::string::npos);
}

TEST_F(StorageMpi, AnotherNetworkIsNamedWithBothShapes) {
  State state;
  write(1, state);
  const auto header = *find().header;
  auto views = state.views();
  views[0].shape = {32, 1, 3, 3};
  std::string message =
      failure([&] { read_checkpoint(world(), header, views, Sharding::same, {}); });
  EXPECT_NE(message.find("another network"), std::string::npos) << message;
  EXPECT_NE(message.find("(16, 1, 3, 3)"), std::string::npos) << message;
  EXPECT_NE(message.find("(32, 1, 3, 3)"), std::string::npos) << message;

  views = state.views();
  views[0].name = "parameters/layers.1.weight";
  message = failure([&] { check_arrays(header, views, Sharding::same); });
  EXPECT_NE(message.find("layers.1.weight"), std::string::npos) << message;

  views = state.views();
  views.erase(views.begin());
  message = failure([&] { check_arrays(header, views, Sharding::same); });
  EXPECT_NE(message.find("layers.0.weight"), std::string::npos) << message;
}

TEST_F(StorageMpi, OnlyABranchMayDealTheChainsAnew) {
  State state;
  write(1, state);
  const auto header = *find().header;
  State branch(4, 3);
  EXPECT_NE(failure([&] {
              read_checkpoint(world(), header, branch.views(), Sharding::same, {});
            }).find("8 shards"),
            std::string::npos);
  read_checkpoint(world(), header, branch.views(), Sharding::any, {});
  EXPECT_EQ(branch.bank, State(4).bank);

  alone([&] { flip(checkpoint_path(directory_, 1), std::vector<float>{48 * 9, 48 * 9 + 1}); });
  EXPECT_NE(failure([&] {
              read_checkpoint(world(), header, branch.views(), Sharding::any, {});
            }).find("shard 1"),
            std::string::npos);
}

TEST_F(StorageMpi, FailedCommitLeavesNothing) {
  State state;
  FileOptions options{.job = "1234"};
  options.before_rename = [&] {
    EXPECT_EQ(names(), (std::vector<std::string>{"iteration-00000001.h5.part.1234"}));
    throw Error(ExitCode::input_output, "the directory has another owner");
  };
  EXPECT_EQ(failure([&] { write(1, state, options); }), "the directory has another owner");
  world().barrier();
  EXPECT_TRUE(names().empty());
}

TEST_F(StorageMpi, ErrorWhileCreatingEndsOnAllRanksAndLeavesNothing) {
  FileRequest request{.path = directory_ + "/file.h5"};
  request.create = [](hdf5::File&) { throw Error(ExitCode::input_output, "no"); };
  EXPECT_EQ(failure([&] { commit(world(), request, {}); }), "no");
  world().barrier();
  EXPECT_TRUE(names().empty());
}

TEST_F(StorageMpi, WhatDoesNotReadBackIsNotCommitted) {
  FileRequest request{.path = directory_ + "/file.h5"};
  request.create = [](hdf5::File& file) {
    hdf5::make_dataset(file, "numbers", ElementType::int64, {4});
  };
  request.write = [](hdf5::File&, const Progressed&) {};
  request.verify = [](hdf5::File&, const Progressed&) -> std::optional<std::string> {
    if (world().rank() == world().size() - 1) return "array 'numbers' differs";
    return std::nullopt;
  };
  EXPECT_NE(failure([&] { commit(world(), request, {}); }).find("'numbers'"), std::string::npos);
  world().barrier();
  EXPECT_TRUE(names().empty());
}

TEST_F(StorageMpi, DirectoryThatIsNotThereIsNamed) {
  State state;
  directory_ += "/missing";
  EXPECT_NE(failure([&] { write(1, state); }).find("/missing/iteration-00000001.h5"),
            std::string::npos);
  directory_.resize(directory_.size() - 8);
}

TEST_F(StorageMpi, TransfersThatWouldNotBeCollectiveAreFound) {
  if (world().size() == 1) GTEST_SKIP() << "one rank makes no collective transfer";
  const std::string path = directory_ + "/compact.h5";
  alone([&] {
    const auto file = hdf5::File::create(path);
    const hdf5::Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_layout(creation.id(), H5D_COMPACT);
    const hsize_t extent = 8;
    const hdf5::Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
    const hdf5::Handle made(H5Dcreate2(file.id(), "compact", H5T_STD_I64LE, space.id(), H5P_DEFAULT,
                                       creation.id(), H5P_DEFAULT),
                            H5Dclose);
  });
  auto file = hdf5::File::open_shared(world(), path, hdf5::Mode::read, {});
  const hdf5::Dataset compact(file, "compact");
  std::vector<std::int64_t> values(8);
  EXPECT_NE(failure(
                [&] {
                  hdf5::read_rows(world(), compact, {0, 8}, values.data());
                },
                ExitCode::bug)
                .find("not collective"),
            std::string::npos);
}

TEST_F(StorageMpi, ARowThatIsLargerThanASliceGoesInPieces) {
  // Each rank has another number of rows, of 7 × 3 numbers or 168 bytes.
  const std::int64_t rank = world().rank(), own = rank + 1, first = rank * (rank + 1) / 2;
  const std::int64_t total = world().size() * (world().size() + 1) / 2;
  std::vector<std::int64_t> values(static_cast<std::size_t>(own * 21));
  std::iota(values.begin(), values.end(), first * 21);
  for (const std::size_t bytes : {std::size_t{10}, std::size_t{50}, std::size_t{100},
                                  std::size_t{167}, std::size_t{168}, std::size_t{400}}) {
    const std::string path = directory_ + "/rows.h5";
    alone([&] {
      auto made = hdf5::File::create(path);
      hdf5::make_dataset(made, "x", ElementType::int64, {total, 7, 3}, {1, 2, 3});
      made.close();
    });
    int told = 0;
    const hdf5::Slicing slicing{.unit_within = 2, .progressed = [&] { ++told; }, .bytes = bytes};
    auto file = hdf5::File::open_shared(world(), path, hdf5::Mode::write, {});
    hdf5::write_rows(world(), hdf5::Dataset(file, "x"), {first, own}, values.data(), slicing);
    file.close();
    // Two indices of the second dimension, or as many as fit: an even number, or all.
    const std::int64_t pieces = bytes < 96 ? 4 : 2, most = world().size();
    EXPECT_EQ(told, bytes < 168 ? most * pieces : bytes == 168 ? most : (most + 1) / 2);
    world().barrier();
    auto written = hdf5::File::open_shared(world(), path, hdf5::Mode::read, {});
    std::vector<std::int64_t> found(values.size());
    const hdf5::Dataset x(written, "x");
    hdf5::read_rows(world(), x, {first, own}, found.data(), slicing);
    EXPECT_EQ(found, values);
    EXPECT_EQ(hdf5::digest_rows(world(), x, {first, own}, 1, slicing),
              digest_parts(std::as_bytes(std::span(values)), own));
    written.close();
  }
}

TEST_F(StorageMpi, RetentionKeepsWhatItShould) {
  State state;
  FileOptions options{.hints = {{"collective_buffering", "true"}, {"cb_nodes", "1"}}};
  options.retention = [&] { retain_checkpoints(directory_, 2, 4, {0}); };
  for (std::int64_t iteration = 0; iteration < 8; ++iteration) write(iteration, state, options);
  EXPECT_EQ(list_checkpoints(directory_), (std::vector<std::int64_t>{7, 6, 4, 0}));
  alone([&] {
    std::ofstream(directory_ + "/iteration-00000009.h5.part.77") << "half";
    remove_unfinished(directory_);
  });
  EXPECT_EQ(names().size(), 5U);
}

/// Values by chain, draw and element, so that a misplaced one shows.
float value(std::int64_t chain, std::int64_t draw, std::int64_t element) {
  return static_cast<float>(chain * 10000 + draw * 1000 + element);
}

/// Draws of the first chains of the bank: some ranks may have none of them.
struct Draws {
  Draws(std::int64_t chains_in_file, std::vector<std::int64_t> state_shape,
        std::vector<std::int64_t> numbers) {
    set.state_shape = std::move(state_shape);
    set.chains = chains_in_file;
    set.chains_per_shard = chains / shards;
    set.draw_numbers = std::move(numbers);
    const std::int64_t begin = first_shard(shards, world().rank()) * set.chains_per_shard;
    const std::int64_t end = first_shard(shards, world().rank() + 1) * set.chains_per_shard;
    set.first_chain = std::min(begin, set.chains);
    set.chain_count = std::min(end, set.chains) - set.first_chain;
    if (set.chain_count == 0) set.first_chain = 0;
    for (const auto extent : set.state_shape) elements *= extent;
    fill();
    set.states = states.data();
    set.statistics = {{"lp", ElementType::float32, lp.data()},
                      {"age", ElementType::int64, age.data()}};
    set.attributes = {{"seed", std::int64_t{3}}, {"temperature", 1e-6}, {"commit", "abc"}};
  }

  void fill() {
    for (std::int64_t chain = set.first_chain; chain < set.first_chain + set.chain_count; ++chain) {
      for (std::size_t draw = 0; draw < set.draw_numbers.size(); ++draw) {
        lp.push_back(value(chain, static_cast<std::int64_t>(draw), -1));
        age.push_back(chain);
        for (std::int64_t i = 0; i < elements; ++i) {
          states.push_back(value(chain, static_cast<std::int64_t>(draw), i));
        }
      }
    }
  }

  DrawSet set;
  std::int64_t elements{1};
  std::vector<float> states;
  std::vector<float> lp;
  std::vector<std::int64_t> age;
};

void expect_draws(const std::string& path, const Draws& draws) {
  const auto file = hdf5::File::open(path, hdf5::Mode::read);
  const hdf5::Dataset x(file, "posterior/x");
  std::vector<float> stored(row_bytes(ElementType::float32, x.shape()) / 4 *
                            static_cast<std::size_t>(x.shape()[0]));
  x.read_all(stored.data());
  std::size_t wrong = 0;
  std::size_t at = 0;
  for (std::int64_t chain = 0; chain < x.shape()[0]; ++chain) {
    for (std::int64_t draw = 0; draw < x.shape()[1]; ++draw) {
      for (std::int64_t i = 0; i < draws.elements; ++i) {
        wrong += stored[at++] != value(chain, draw, i);
      }
    }
  }
  EXPECT_EQ(at, stored.size());
  EXPECT_EQ(wrong, 0U);
  std::vector<std::int64_t> age(static_cast<std::size_t>(x.shape()[0] * x.shape()[1]));
  hdf5::Dataset(file, "sample_stats/age").read_all(age.data());
  EXPECT_EQ(age.back(), x.shape()[0] - 1);
}

TEST_F(StorageMpi, DrawsOfTheFirstChains) {
  for (const std::int64_t chains_in_file : {std::int64_t{5}, std::int64_t{20}, chains}) {
    const Draws draws(chains_in_file, {3, 4, 4}, {500});
    const std::string path = directory_ + "/draws-" + std::to_string(chains_in_file) + ".nc";
    write_draws(world(), path, draws.set, {});
    expect_draws(path, draws);
  }
}

TEST_F(StorageMpi, SeveralDrawsOfPoints) {
  const Draws draws(chains, {2}, {0, 10, 20, 30, 40});
  write_draws(world(), directory_ + "/draws.nc", draws.set, {});
  expect_draws(directory_ + "/draws.nc", draws);
}

TEST_F(StorageMpi, LargeDrawsTakeSeveralChunksAndTransfers) {
  // 3 MiB for each chain: two in a chunk, 20 in a transfer.
  const Draws draws(24, {3, 512, 512}, {7});
  write_draws(world(), directory_ + "/draws.nc", draws.set, {});
  world().barrier();
  if (world().rank() == 0) expect_draws(directory_ + "/draws.nc", draws);
}

TEST(Replicas, TheRankThatHoldsOtherNumbersIsNamed) {
  std::vector<float> first(100, 1.5F), second(7, 0.25F);
  std::vector<float> own(10, static_cast<float>(world().rank()));
  const std::int64_t parts = world().size();
  const std::vector<ArrayView> arrays{
      {.name = "parameters/a", .shape = {100}, .data = first.data()},
      {.name = "parameters/b", .shape = {7}, .data = second.data()},
      {.name = "chains/state",
       .shape = {10 * parts},
       .data = own.data(),
       .shards = parts,
       .first_shard = world().rank(),
       .shard_count = 1}};
  check_replicas(world(), test_session().hosts(), arrays);
  if (world().size() == 1) return;
  // The last bit of one number of the last rank.
  const int last = world().size() - 1;
  if (world().rank() == last) second[6] = std::nextafter(second[6], 1.0F);
  try {
    check_replicas(world(), test_session().hosts(), arrays);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::environment);
    EXPECT_EQ(error.rank, last);
    EXPECT_TRUE(error.agreed);
    const std::string what = error.what();
    EXPECT_NE(what.find("'parameters/b' on rank " + std::to_string(last)), std::string::npos)
        << what;
  }
}

}  // namespace
}  // namespace stanley
