#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <xxhash.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <numeric>

#include "storage/checkpoint.hpp"
#include "storage/data_file.hpp"
#include "storage/digest.hpp"
#include "storage/draws.hpp"
#include "storage/folder.hpp"
#include "storage/hdf5.hpp"
#include "temporary_directory.hpp"

/// HDF5 itself forgets memory where it reads a damaged header.
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace stanley {
namespace {

namespace fs = std::filesystem;

class Storage : public TemporaryDirectory {
 protected:
  bool is_empty() const { return fs::is_empty(directory_); }

  std::unique_ptr<Communicator> local_ = make_local_communicator();
};

void expect_words(const std::string& message, std::initializer_list<std::string> words) {
  for (const auto& word : words) {
    EXPECT_NE(message.find(word), std::string::npos) << '"' << word << "\" in: " << message;
  }
}

// --- arrays and digests -------------------------------------------------------------------------

TEST(StorageArray, SnapshotStaysStill) {
  std::vector<float> state{1, 2, 3, 4};
  Snapshot snapshot;
  snapshot.take({{.name = "chains/state",
                  .shape = {8, 2},
                  .data = state.data(),
                  .shards = 4,
                  .first_shard = 2,
                  .shard_count = 1}});
  state.assign(4, 0);
  const ArrayView& copy = snapshot.arrays().at(0);
  ASSERT_EQ(local_bytes(copy), 16U);
  EXPECT_EQ(static_cast<const float*>(copy.data)[3], 4);
}

/// An array that lies where only its functions reach it.
ArrayView on_device(std::vector<float>& memory) {
  ArrayView view{.name = "x", .shape = {static_cast<std::int64_t>(memory.size())}};
  const std::size_t bytes = memory.size() * sizeof(float);
  view.copy_out = [&memory, bytes](void* to) { std::memcpy(to, memory.data(), bytes); };
  view.copy_in = [&memory, bytes](const void* from) { std::memcpy(memory.data(), from, bytes); };
  return view;
}

TEST(StorageArray, SnapshotTakesWhatLiesOnADevice) {
  std::vector<float> memory{1, 2, 3};
  Snapshot snapshot;
  snapshot.take({on_device(memory)});
  memory.assign(3, 0);
  const ArrayView& copy = snapshot.arrays().at(0);
  EXPECT_EQ(static_cast<const float*>(copy.data)[2], 3);
  EXPECT_FALSE(copy.copy_out || copy.copy_in);
}

TEST(StorageArray, FillingReachesTheDeviceInTheEnd) {
  std::vector<float> memory{1, 2}, host{3, 4};
  Filling filling({on_device(memory), {.name = "y", .shape = {2}, .data = host.data()}});
  EXPECT_EQ(filling.arrays()[1].data, host.data());
  static_cast<float*>(filling.arrays()[0].data)[0] = 5;
  static_cast<float*>(filling.arrays()[0].data)[1] = 6;
  EXPECT_EQ(memory, (std::vector<float>{1, 2}));
  filling.finish();
  EXPECT_EQ(memory, (std::vector<float>{5, 6}));
}

TEST(StorageDigest, PiecesMakeTheSameDigestsAsTheWhole) {
  std::vector<std::byte> bytes(1200);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7);
  for (const std::size_t piece : {1U, 7U, 400U, 700U, 1200U}) {
    PartDigester digester(400);
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      digester.feed(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)));
    }
    EXPECT_EQ(digester.digests(), digest_parts(bytes, 3));
  }
}

// --- chunks -------------------------------------------------------------------------------------

TEST(StorageChunks, AreLargeButNeverCrossAShard) {
  using Shape = std::vector<std::int64_t>;
  // One draw of 256 chains of 4 KiB is 1 MiB: eight draws fill a chunk.
  EXPECT_EQ(chunk_shape({2048, 20, 1, 32, 32}, 256, 4), (Shape{256, 8, 1, 32, 32}));
  // 12 KiB a chain: 682 would fit, 512 is the most of those that divide a shard.
  EXPECT_EQ(chunk_shape({4096, 3, 3, 32, 32}, 1024, 4), (Shape{512, 1, 3, 32, 32}));
  // 8 MB of draws for each chain, which are moved together: few chains, many draws.
  EXPECT_EQ(chunk_shape({2048, 2000, 1, 32, 32}, 256, 4), (Shape{8, 256, 1, 32, 32}));
  EXPECT_EQ(chunk_shape({2048, 50000, 1, 32, 32}, 256, 4), (Shape{1, 2048, 1, 32, 32}));
  // Fewer chains in the file than in a shard.
  EXPECT_EQ(chunk_shape({64, 1, 1, 32, 32}, 256, 4), (Shape{64, 1, 1, 32, 32}));
  // One state is larger than a chunk: it is cut along its channels.
  EXPECT_EQ(chunk_shape({8, 1, 3, 1024, 1024}, 4, 4), (Shape{1, 1, 2, 1024, 1024}));
}

// --- checkpoints --------------------------------------------------------------------------------

/// One rank that counts what would be messages.
class Counting final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void barrier() override { ++calls; }
  using Communicator::broadcast;
  void broadcast(std::span<std::byte>, int) override { ++calls; }
  void sum(std::span<double>) override { ++calls; }
  void sum(std::span<float>) override { ++calls; }
  void sum(std::span<std::int64_t>) override { ++calls; }
  using Communicator::max;
  void max(std::span<double>) override { ++calls; }
  std::vector<std::string> all_gather(const std::string& text) override {
    return ++calls, std::vector{text};
  }
  void all_gather(std::span<const float>, std::span<float>, std::span<const int>) override {}
  void all_to_all(std::span<const float>, std::span<const int>, std::span<float>,
                  std::span<const int>, Exchange) override {}
  std::unique_ptr<Communicator> duplicate(Waiting) const override { return nullptr; }

  int calls = 0;

 private:
  void abort_all(ExitCode) const override {}
};

TEST_F(Storage, ReplicatedArraysTakeNoCollectiveCalls) {
  const auto calls_of = [&](int arrays) {
    std::vector<float> values(64);
    CheckpointContents contents{.iteration = arrays,
                                .progress = {{"iteration", std::int64_t{arrays}}}};
    for (int i = 0; i < arrays; ++i) {
      contents.arrays.push_back(
          {.name = "parameters/" + std::to_string(i), .shape = {64}, .data = values.data()});
    }
    Counting counting;
    write_checkpoint(counting, directory_, contents, {});
    const CheckpointHeader header =
        verify_checkpoint(counting, checkpoint_path(directory_, arrays), {});
    EXPECT_EQ(header.arrays.size(), static_cast<std::size_t>(arrays));
    read_checkpoint(counting, header, contents.arrays, Sharding::same, {});
    return counting.calls;
  };
  EXPECT_EQ(calls_of(300), calls_of(1));
}

TEST_F(Storage, CheckpointNeedsNoMpi) {
  std::vector<float> weight{1, 2, 3};
  std::vector<float> state(8, 0.5F);
  const std::vector<ArrayView> views{{.name = "parameters/w", .shape = {3}, .data = weight.data()},
                                     {.name = "chains/state",
                                      .shape = {4, 2},
                                      .data = state.data(),
                                      .shards = 2,
                                      .shard_count = 2}};
  const CheckpointContents contents{
      .iteration = 3,
      .arrays = views,
      .progress = {{"iteration", std::int64_t{3}}, {"samples_seen", std::int64_t{1} << 40}},
      .texts = {{"config", std::string(200000, 'x')}}};
  write_checkpoint(*local_, directory_, contents, {});
  const auto header = read_checkpoint_header(checkpoint_path(directory_, 3));
  EXPECT_EQ(header.texts.at("config").size(), 200000U);
  EXPECT_EQ(std::get<std::int64_t>(header.progress.at("samples_seen")), std::int64_t{1} << 40);
  EXPECT_EQ(header.find("chains/state")->shards, 2);
  EXPECT_EQ(header.find("nothing"), nullptr);
  weight.assign(3, 0);
  state.assign(8, 0);
  read_checkpoint(*local_, header, views, Sharding::same, {});
  EXPECT_EQ(weight, (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(state, std::vector<float>(8, 0.5F));
}

TEST_F(Storage, AnyDamagedByteOfTheHeaderIsFoundOrHarmless) {
  std::vector<float> weight(64, 1.5F);
  const CheckpointContents contents{
      .iteration = 1,
      .arrays = {{.name = "parameters/w", .shape = {64}, .data = weight.data()}},
      .progress = {{"iteration", std::int64_t{1}}, {"factor", 0.5}},
      .texts = {{"config", "run: {}"}}};
  write_checkpoint(*local_, directory_, contents, {});
  const std::string path = checkpoint_path(directory_, 1);
  std::ifstream in(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  const auto whole = read_checkpoint_header(path);
  EXPECT_NO_THROW(
      verify_checkpoint(*local_, path, {}));  // undamaged, or the rest would prove nothing
  int found = 0;
  for (std::size_t at = 0; at < bytes.size(); at += 11) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    std::ofstream(path, std::ios::binary) << damaged;
    try {
      std::vector<float> copy(64);
      const auto header = verify_checkpoint(*local_, path, {});
      read_checkpoint(*local_, header,
                      {{.name = "parameters/w", .shape = {64}, .data = copy.data()}},
                      Sharding::same, {});
      EXPECT_EQ(copy, weight) << at;
      EXPECT_EQ(header.texts, whole.texts) << at;
      EXPECT_EQ(header.progress, whole.progress) << at;
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ExitCode::input_output) << error.what();
      ++found;
    }
  }
  EXPECT_GT(found, 50);
}

TEST_F(Storage, FullDiskIsFoundBeforeAnythingIsWritten) {
  // A limit on the size of a file stands for the disk's end: the system reports both alike.
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit limit = before;
  limit.rlim_cur = 1 << 20;
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  std::vector<float> state(1 << 20);
  const CheckpointContents contents{.iteration = 7,
                                    .arrays = {{.name = "chains/state",
                                                .shape = {1 << 20},
                                                .data = state.data(),
                                                .shards = 1,
                                                .shard_count = 1}}};
  const std::string message =
      input_output_failure([&] { write_checkpoint(*local_, directory_, contents, {}); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  expect_words(message, {"no space", "needs 5 MB", directory_});
  EXPECT_TRUE(is_empty());
}

TEST_F(Storage, MissingCheckpointIsNamed) {
  expect_words(input_output_failure([&] { read_checkpoint_header(directory_ + "/none.h5"); }),
               {"none.h5", "No such file"});
}

TEST_F(Storage, ErrorsOfHdf5StayQuiet) {
  testing::internal::CaptureStderr();
  input_output_failure([&] { hdf5::File::open(directory_, hdf5::Mode::read); });
  const auto file = hdf5::File::create(directory_ + "/file.h5");
  input_output_failure([&] { hdf5::Dataset(file, "nothing"); });
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

// --- draws --------------------------------------------------------------------------------------

TEST_F(Storage, LinksAreFollowedToAName) {
  const std::string& folder = directory_;
  fs::create_symlink("iteration-00000020.h5", folder + "/latest");
  fs::create_symlink(folder + "/latest", folder + "/mine");
  fs::create_symlink("circle", folder + "/circle");
  EXPECT_EQ(followed(folder + "/latest"), folder + "/iteration-00000020.h5");
  EXPECT_EQ(followed(folder + "/mine"), folder + "/iteration-00000020.h5");
  EXPECT_EQ(followed(folder + "/circle"), folder + "/circle");
  EXPECT_EQ(followed("nowhere"), "nowhere");
}

TEST_F(Storage, DrawsHaveNamedDimensions) {
  std::vector<float> states(4 * 3 * 2);
  std::iota(states.begin(), states.end(), 0.0F);
  const std::vector<double> lp(12, -1);
  const DrawSet draws{.state_shape = {2},
                      .chains = 4,
                      .chains_per_shard = 2,
                      .chain_count = 4,
                      .draw_numbers = {5, 10, 15},
                      .states = states.data(),
                      .statistics = {{"lp", ElementType::float64, lp.data()}},
                      .attributes = {{"seed", std::int64_t{1}}}};
  const std::string path = directory_ + "/draws.nc";
  const CommitReport report = write_draws(*local_, path, draws, {});
  EXPECT_EQ(report.bytes, static_cast<std::int64_t>(fs::file_size(path)));
  const auto file = hdf5::File::open(path, hdf5::Mode::read);
  std::vector<std::int64_t> numbers(3);
  hdf5::Dataset(file, "posterior/draw").read_all(numbers.data());
  EXPECT_EQ(numbers, draws.draw_numbers);
  EXPECT_EQ(hdf5::list(file, "posterior", H5O_TYPE_DATASET),
            (std::vector<std::string>{"chain", "dimension", "draw", "x"}));
  std::vector<float> stored(states.size());
  hdf5::Dataset(file, "posterior/x").read_all(stored.data());
  EXPECT_EQ(stored, states);
}

// --- data files ---------------------------------------------------------------------------------

class StorageData : public Storage {
 protected:
  /// Six images of 1 x 2 x 2, as the converter makes them.
  std::string make(const std::string& checksum = "", const std::string& version = "1.0") {
    const std::string path = directory_ + "/data.h5";
    auto file = hdf5::File::create(path);
    std::vector<std::uint8_t> images(24);
    std::iota(images.begin(), images.end(), std::uint8_t{0});
    hdf5::make_dataset(file, "train/images", ElementType::uint8, {6, 1, 2, 2})
        .write_all(images.data());
    std::vector<std::int64_t> labels{0, 1, 2, 3, 4, 5};
    hdf5::make_dataset(file, "train/labels", ElementType::int64, {6}).write_all(labels.data());
    char own[17];
    std::snprintf(own, sizeof(own), "%016llx",
                  static_cast<unsigned long long>(XXH64(images.data(), images.size(), 0)));
    const auto group = hdf5::open_object(file, "train");
    hdf5::write_attribute(group.id(), "checksum", checksum.empty() ? own : checksum);
    const auto root = hdf5::open_object(file, "/");
    hdf5::write_attribute(root.id(), "schema_version", version);
    hdf5::write_attribute(root.id(), "provenance", std::string("made here"));
    file.close();
    return path;
  }
};

TEST_F(StorageData, IsRead) {
  const DataFile data(make());
  EXPECT_EQ(data.splits(), std::vector<std::string>{"train"});
  EXPECT_EQ(data.shape("train"), (std::vector<std::int64_t>{6, 1, 2, 2}));
  EXPECT_EQ(data.provenance(), "made here");
  EXPECT_EQ(data.read_all_images("train").back(), 23);
  EXPECT_EQ(data.read_labels("train").back(), 5);
}

TEST_F(StorageData, WhatIsWrongIsNamed) {
  expect_words(input_output_failure([&] { DataFile(directory_ + "/none.h5"); }),
               {"none.h5", "No such file"});
  const std::string path = make();
  expect_words(input_output_failure([&] { DataFile(path).shape("test"); }),
               {"no split 'test'", "train"});
  fs::resize_file(path, fs::file_size(path) - 10);
  expect_words(input_output_failure([&] { DataFile{path}; }), {path, "truncated"});
  std::ofstream(path) << "these are no images";
  expect_words(input_output_failure([&] { DataFile{path}; }), {path});
  make("0123456789abcdef");
  expect_words(input_output_failure([&] { DataFile(path).read_all_images("train"); }),
               {"damaged", "checksum"});
  make("", "2.1");
  expect_words(input_output_failure([&] { DataFile{path}; }), {"schema version 2.1"});
}

TEST_F(StorageData, OtherShapesAreRefused) {
  const std::string path = directory_ + "/data.h5";
  auto file = hdf5::File::create(path);
  hdf5::make_dataset(file, "train/images", ElementType::float32, {6, 4, 4});
  hdf5::write_attribute(hdf5::open_object(file, "/").id(), "schema_version", std::string("1.0"));
  file.close();
  expect_words(input_output_failure([&] { DataFile{path}; }),
               {"float32", "(6, 4, 4)", "expected uint8"});
}

}  // namespace
}  // namespace stanley
