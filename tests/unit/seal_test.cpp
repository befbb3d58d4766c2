#include "storage/seal.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "config/error.hpp"
#include "storage/checkpoint.hpp"
#include "storage/child.hpp"
#include "storage/draws.hpp"
#include "storage/hdf5.hpp"
#include "storage/inspection.hpp"
#include "temporary_directory.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

class SealTest : public TemporaryDirectory {
 protected:
  /// A checkpoint of four weights and eight numbers of chains.
  std::string write_one() {
    const CheckpointContents contents{
        .iteration = 1,
        .arrays = {{.name = "parameters/w", .shape = {4}, .data = weight_.data()},
                   {.name = "chains/state",
                    .shape = {4, 2},
                    .data = state_.data(),
                    .shards = 2,
                    .shard_count = 2},
                   {.name = "chains/age",
                    .type = ElementType::int64,
                    .shape = {4},
                    .data = counts_.data(),
                    .shards = 2,
                    .shard_count = 2},
                   {.name = "chains/restarts",
                    .type = ElementType::int64,
                    .shape = {4},
                    .data = counts_.data(),
                    .shards = 2,
                    .shard_count = 2}},
        .progress = {{"iteration", std::int64_t{1}}},
        .texts = {{"config", "run: {}"}}};
    write_checkpoint(*local_, directory_, contents, {});
    return checkpoint_path(directory_, 1);
  }

  static std::string bytes_of(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(in)), {});
  }

  static void write(const std::string& path, const std::string& bytes) {
    fs::remove(path);  // a file that is emptied and written again waits for the disk on ext4
    std::ofstream(path, std::ios::binary) << bytes;
  }

  /// Where these values stand among the bytes.
  template <typename Value>
  static std::size_t place_of(const std::string& bytes, const std::vector<Value>& values) {
    return bytes.find(
        std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Value)));
  }

  bool is_verified(const std::string& path) { return inspect_file(*local_, path).verified(); }

  std::unique_ptr<Communicator> local_ = make_local_communicator();
  std::vector<float> weight_{1.5F, 2.5F, 3.5F, 4.5F};
  std::vector<std::int64_t> counts_{1, 2, 3, 4};
  std::vector<float> state_{10, 20, 30, 40, 50, 60, 70, 80};
};

TEST_F(SealTest, VouchesForEachByteButTheArrays) {
  const std::string path = write_one();
  ASSERT_EQ(check_seal(path), Seal::whole);
  const std::string bytes = bytes_of(path);
  const std::size_t weight = place_of(bytes, weight_);
  const std::size_t state = place_of(bytes, state_);
  ASSERT_NE(weight, std::string::npos);
  ASSERT_NE(state, std::string::npos);
  int left_out = 0;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x21);
    write(path, damaged);
    const bool of_an_array = (at >= weight && at < weight + 16) || (at >= state && at < state + 32);
    const bool unseen = check_seal(path) == Seal::whole;
    left_out += unseen;
    EXPECT_TRUE(unseen || !of_an_array) << at;
  }
  EXPECT_EQ(left_out, 16 + 32 + 2 * 32);  // and ages and restarts
}

TEST_F(SealTest, OfAFileThatWasCutIsNone) {
  const std::string path = write_one();
  for (const std::uintmax_t lost : {1U, 8U, 100U}) {
    fs::resize_file(path, fs::file_size(path) - lost);
    EXPECT_EQ(check_seal(path), Seal::none);
  }
  write(path, "");
  EXPECT_EQ(check_seal(path), Seal::none);
}

TEST_F(SealTest, OfNonsenseIsBroken) {
  // A number of extents that no file could hold must not be believed.
  const std::uint64_t many = ~std::uint64_t{0} / 16;
  std::string text(64, '\0');
  std::memcpy(text.data() + 40, &many, sizeof(many));
  text.replace(56, 8, "STANLEY1");
  write(directory_ + "/x", text);
  EXPECT_EQ(check_seal(directory_ + "/x"), Seal::broken);
}

TEST_F(SealTest, IsWantedOfNewFilesAlone) {
  EXPECT_EQ(seal_problem(Seal::whole, "1.1"), "");
  EXPECT_EQ(seal_problem(Seal::none, "1.0"), "");
  EXPECT_NE(seal_problem(Seal::none, "1.1"), "");
  EXPECT_NE(seal_problem(Seal::broken, "1.0"), "");
}

TEST_F(SealTest, LeavesTheDrawsToTheirDigests) {
  const std::vector<double> lp(4, -0.25);
  const std::string path = directory_ + "/draws.nc";
  write_draws(*local_, path,
              {.state_shape = {2},
               .chains = 4,
               .chains_per_shard = 4,
               .chain_count = 4,
               .draw_numbers = {1},
               .states = state_.data(),
               .statistics = {{"lp", ElementType::float64, lp.data()}}},
              {});
  const std::string bytes = bytes_of(path);
  EXPECT_TRUE(is_verified(path));
  for (const std::size_t at : {place_of(bytes, state_), place_of(bytes, lp)}) {
    ASSERT_NE(at, std::string::npos);
    std::string damaged = bytes;
    damaged[at + 3] = static_cast<char>(damaged[at + 3] ^ 1);
    write(path, damaged);
    EXPECT_EQ(check_seal(path), Seal::whole);
    EXPECT_FALSE(is_verified(path));
  }
}

/// Changes a file as somebody would who knows how it is made, and seals it again.
void forge(const std::string& path, const std::function<void(const hdf5::File&)>& change) {
  auto file = hdf5::File::open(path, hdf5::Mode::write);
  change(file);
  file.close();
  seal(path);
}

TEST_F(SealTest, ASoundCheckpointIsVerified) { EXPECT_TRUE(is_verified(write_one())); }

TEST_F(SealTest, TiesTheArraysToTheirHeader) {
  // Arrays and digests of another checkpoint of the same shapes, in their places.
  const std::string path = write_one();
  const std::string one = bytes_of(path);
  weight_.assign(4, 9.0F);
  const std::string other = bytes_of(write_one());
  ASSERT_EQ(one.size(), other.size());
  std::size_t last = one.size() - 24;
  while (one[last - 1] == other[last - 1]) --last;
  for (std::size_t first = 0; first < last; first += 256) {
    std::string mixed = one;
    mixed.replace(first, last - first, other, first, last - first);
    if (mixed == one || mixed.compare(0, last, other, 0, last) == 0) continue;
    write(path, mixed);
    EXPECT_FALSE(is_verified(path)) << first;
  }
}

TEST_F(SealTest, CraftedCheckpointsAreNotVerified) {
  for (const std::int64_t shards : {std::int64_t{-5}, std::int64_t{-1}, std::int64_t{1} << 62}) {
    const std::string path = write_one();
    forge(path, [&](const hdf5::File& file) {
      const hdf5::Dataset digests(file, "digests/chains/state");
      H5Adelete(digests.id(), "shards");
      hdf5::write_attribute(digests.id(), "shards", shards);
    });
    ASSERT_EQ(check_seal(path), Seal::whole);
    EXPECT_FALSE(is_verified(path)) << shards;
  }
}

TEST_F(SealTest, ShapesThatOverflowAreNotVerified) {
  for (const hsize_t extent : {hsize_t{1} << 62, hsize_t{1} << 40}) {
    const std::string path = write_one();
    forge(path, [&](const hdf5::File& file) {
      H5Ldelete(file.id(), "chains/state", H5P_DEFAULT);
      const hdf5::Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
      const hsize_t shape[2] = {extent, 1 << 20}, chunk[2] = {1, 16};
      H5Pset_chunk(creation.id(), 2, chunk);
      const hdf5::Handle space(H5Screate_simple(2, shape, nullptr), H5Sclose);
      const hdf5::Handle made(H5Dcreate2(file.id(), "chains/state", H5T_IEEE_F32LE, space.id(),
                                         H5P_DEFAULT, creation.id(), H5P_DEFAULT),
                              H5Dclose);
    });
    EXPECT_FALSE(is_verified(path)) << extent;
  }
}

// --- processes of their own ---------------------------------------------------------------------

TEST(Child, ReportsTheLastText) {
  const ChildReport report = in_child([](const Send& send) {
    send("first");
    send(std::string(1 << 20, 'x'));
  });
  EXPECT_EQ(report.last, std::string(1 << 20, 'x'));
  EXPECT_EQ(report.crash, "");
}

TEST(Child, ItsCrashIsTold) {
  for (const int signal : {SIGSEGV, SIGABRT}) {
    const ChildReport report = in_child([&](const Send& send) {
      send("so far");
      std::raise(signal);
    });
    EXPECT_EQ(report.last, "so far");
    EXPECT_NE(report.crash.find("signal " + std::to_string(signal)), std::string::npos);
  }
}

TEST(Child, ItsErrorIsThrown) {
  try {
    in_child([](const Send&) { throw Error(ExitCode::input_output, "no such thing"); });
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::input_output);
    EXPECT_STREQ(error.what(), "no such thing");
  }
}

}  // namespace
}  // namespace stanley
