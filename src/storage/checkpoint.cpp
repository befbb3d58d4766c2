#include "storage/checkpoint.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <span>

#include "config/error.hpp"
#include "parallel/agree.hpp"
#include "storage/checkpoint_schema.hpp"
#include "storage/digest.hpp"
#include "storage/hdf5.hpp"
#include "storage/transfer.hpp"

// The arrays of a checkpoint: sharded ones are written, verified and read by all ranks together,
// replicated ones by rank 0 alone.

namespace stanley {
namespace {

/// Rows of a shard of a sharded array; all of a replicated one.
std::int64_t part_rows(const std::vector<std::int64_t>& shape, std::int64_t shards) {
  return row_count(shape) / std::max<std::int64_t>(shards, 1);
}

/// Where this rank's digests stand among those of the array.
hdf5::Rows own_digests(const ArrayView& view) {
  if (view.shards == 0) return {0, 1};
  return {view.first_shard, view.shard_count};
}

/// This rank's shards of a sharded array; all of a replicated one.
hdf5::Rows own_rows(const ArrayView& view) {
  const hdf5::Rows parts = own_digests(view);
  const std::int64_t rows = part_rows(view.shape, view.shards);
  return {parts.first * rows, parts.count * rows};
}

std::vector<std::uint64_t> digests_in_memory(const ArrayView& view) {
  return digest_parts({static_cast<const std::byte*>(view.data), local_bytes(view)},
                      own_digests(view).count);
}

std::vector<ArrayView> of_kind(const std::vector<ArrayView>& arrays, Kind kind) {
  std::vector<ArrayView> found;
  std::ranges::copy_if(arrays, std::back_inserter(found), [&](const ArrayView& view) {
    return (view.shards == 0) == (kind == Kind::replicated);
  });
  return found;
}

void check_views(const std::vector<ArrayView>& arrays) {
  for (const auto& view : arrays) {
    const bool fits = view.shards == 0 ||
                      (!view.shape.empty() && view.shape[0] % view.shards == 0 &&
                       view.first_shard >= 0 && view.first_shard + view.shard_count <= view.shards);
    if (fits) continue;
    throw Error(ExitCode::bug, "array '" + view.name + "' of shape " + shape_text(view.shape) +
                                   " can't be dealt over " + std::to_string(view.shards) +
                                   " shards");
  }
}

/// About the size that the file will have.
std::int64_t expected_bytes(const CheckpointContents& contents) {
  std::size_t bytes = 4096;
  for (const auto& view : contents.arrays) {
    bytes += row_bytes(view.type, view.shape) * static_cast<std::size_t>(row_count(view.shape));
    bytes += 8 * static_cast<std::size_t>(std::max<std::int64_t>(view.shards, 1)) + 2048;
  }
  return static_cast<std::int64_t>(bytes);
}

using Digests = std::vector<std::vector<std::uint64_t>>;

/// Collective. Reads back what this rank wrote; with a communicator of one rank, that rank alone.
std::optional<std::string> verify_written(Communicator& communicator, const hdf5::File& file,
                                          const std::vector<ArrayView>& arrays,
                                          const Digests& digests, const Progressed& progressed) {
  std::optional<std::string> wrong;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const ArrayView& view = arrays[i];
    const auto found =
        hdf5::digest_rows(communicator, hdf5::Dataset(file, view.name), own_rows(view),
                          part_rows(view.shape, view.shards), {.progressed = progressed});
    const hdf5::Rows own = own_digests(view);
    std::vector<std::uint64_t> stored(static_cast<std::size_t>(own.count));
    hdf5::read_rows(communicator, hdf5::Dataset(file, digests_name(view.name)), own, stored.data());
    // An array without elements has no rows to digest and needs none.
    const bool empty = row_bytes(view.type, view.shape) == 0 || row_count(view.shape) == 0;
    if (stored != digests[i] || (!empty && found != digests[i])) {
      if (!wrong) wrong = "array '" + view.name + "' differs";
    }
  }
  return wrong;
}

Digests digests_of(const std::vector<ArrayView>& arrays) {
  Digests digests;
  for (const auto& view : arrays) digests.push_back(digests_in_memory(view));
  return digests;
}

}  // namespace

std::size_t writing_bytes(const std::vector<ArrayView>& arrays) {
  std::size_t largest = 0;
  for (const auto& view : arrays) largest = std::max(largest, local_bytes(view));
  // MPI-IO moves a slice through buffers of its own.
  return 2 * std::min(largest, hdf5::slice_bytes);
}

CommitReport write_checkpoint(Communicator& communicator, const std::string& directory,
                              const CheckpointContents& contents, const FileOptions& options) {
  agree(communicator, [&] { check_views(contents.arrays); });
  const std::vector<ArrayView> sharded = of_kind(contents.arrays, Kind::sharded);
  const Digests digests = digests_of(sharded);
  FileRequest request{.path = checkpoint_path(directory, contents.iteration)};
  request.bytes = expected_bytes(contents);
  request.links = {latest_link};
  if (contents.best) request.links.emplace_back(best_link);
  request.create = [&](hdf5::File& file) {
    create_checkpoint_schema(file, contents, communicator.size(), options.progressed);
  };
  request.write = [&](hdf5::File& file, const Progressed& progressed) {
    for (std::size_t i = 0; i < sharded.size(); ++i) {
      const ArrayView& view = sharded[i];
      hdf5::write_rows(communicator, hdf5::Dataset(file, view.name), own_rows(view), view.data,
                       {.progressed = progressed});
      hdf5::write_rows(communicator, hdf5::Dataset(file, digests_name(view.name)),
                       own_digests(view), digests[i].data());
    }
  };
  request.verify = [&](hdf5::File& file, const Progressed& progressed) {
    return verify_written(communicator, file, sharded, digests, progressed);
  };
  request.verify_created = [&](const hdf5::File& file) {
    const auto alone = make_local_communicator();
    const std::vector<ArrayView> replicated = of_kind(contents.arrays, Kind::replicated);
    return verify_written(*alone, file, replicated, digests_of(replicated), options.progressed);
  };
  return commit(communicator, request, options);
}

namespace {

/// The shards of an array that a rank checks: dealt evenly; whole arrays in turn.
hdf5::Rows checked_parts(const StoredArray& array, std::size_t index, int rank, int size) {
  if (array.shards == 0)
    return {0, index % static_cast<std::size_t>(size) == static_cast<std::size_t>(rank) ? 1 : 0};
  const std::int64_t begin = array.shards * rank / size;
  return {begin, array.shards * (rank + 1) / size - begin};
}

}  // namespace

std::vector<DamagedShard> damaged_shards(Communicator& communicator, const hdf5::File& file,
                                         const CheckpointHeader& header, Kind kind, int rank,
                                         int size, const Progressed& progressed) {
  std::vector<DamagedShard> damaged;
  for (std::size_t i = 0; i < header.arrays.size(); ++i) {
    const StoredArray& array = header.arrays[i];
    if ((array.shards == 0) != (kind == Kind::replicated)) continue;
    const std::int64_t rows = part_rows(array.shape, array.shards);
    const hdf5::Rows parts = checked_parts(array, i, rank, size);
    const auto found = hdf5::digest_rows(communicator, hdf5::Dataset(file, array.name),
                                         {parts.first * rows, parts.count * rows}, rows,
                                         {.progressed = progressed});
    for (std::size_t k = 0; k < found.size(); ++k) {
      const auto shard = static_cast<std::size_t>(parts.first) + k;
      if (found[k] != array.digests[shard]) {
        damaged.push_back({i, static_cast<std::int64_t>(shard)});
      }
    }
  }
  return damaged;
}

std::string damage_text(const std::string& array, const std::vector<std::int64_t>& shards) {
  std::string text = "array '" + array + "' doesn't agree with its digest";
  if (shards.empty()) return text;
  return fmt::format("{} in shard{} {}", text, shards.size() == 1 ? "" : "s",
                     fmt::join(shards, ", "));
}

namespace {

std::string first_damage(const CheckpointHeader& header, const std::vector<DamagedShard>& damaged) {
  if (damaged.empty()) return "";
  const auto& [array, shard] = damaged.front();
  if (header.arrays[array].shards == 0) return damage_text(header.arrays[array].name);
  return damage_text(header.arrays[array].name, {shard});
}

/// Rank 0 alone. What is wrong with the replicated arrays.
std::string verify_replicated(const CheckpointHeader& header, const FileOptions& options) {
  try {
    const auto alone = make_local_communicator();
    const auto file = hdf5::File::open(header.path, hdf5::Mode::read);
    return first_damage(
        header, damaged_shards(*alone, file, header, Kind::replicated, 0, 1, options.progressed));
  } catch (const std::exception& error) {
    return error.what();
  }
}

/// Collective; with a communicator of one rank, that rank alone. Fills arrays, each rank its own
/// shards. Returns what is wrong with them.
std::string fill(Communicator& communicator, const hdf5::File& file, const CheckpointHeader& header,
                 const std::vector<ArrayView>& arrays, const FileOptions& options) {
  std::string wrong;
  for (const auto& view : arrays) {
    const StoredArray& stored = *header.find(view.name);
    hdf5::read_rows(communicator, hdf5::Dataset(file, view.name), own_rows(view), view.data,
                    {.progressed = options.progressed});
    if (view.shards != stored.shards) continue;
    const hdf5::Rows own = own_digests(view);
    const auto first = stored.digests.begin() + own.first;
    const auto count = static_cast<std::size_t>(own.count);
    const bool same = std::ranges::equal(digests_in_memory(view), std::span(first, count));
    if (!same && wrong.empty()) wrong = header.path + ": " + damage_text(view.name);
  }
  return wrong;
}

/// Rank 0 alone. Fills replicated arrays.
void read_replicated(const CheckpointHeader& header, const std::vector<ArrayView>& arrays,
                     const FileOptions& options) {
  const auto file = hdf5::File::open(header.path, hdf5::Mode::read);
  const auto wrong = fill(*make_local_communicator(), file, header, arrays, options);
  if (!wrong.empty()) throw FileError(wrong);
}

/// Collective. Rank 0's values to all: as many arrays in one message as a packet holds.
void share(Communicator& communicator, const std::vector<ArrayView>& arrays,
           const FileOptions& options) {
  constexpr std::size_t packet_bytes = std::size_t{16} << 20;
  const bool sends = communicator.rank() == 0;
  std::vector<std::byte> packet;
  for (std::size_t first = 0, end = 0; first < arrays.size(); first = end) {
    std::size_t bytes = 0;
    do {
      bytes += local_bytes(arrays[end++]);
    } while (end < arrays.size() && bytes + local_bytes(arrays[end]) <= packet_bytes);
    packet.resize(bytes);
    const auto copy = [&](bool into_packet) {
      std::byte* place = packet.data();
      for (std::size_t i = first; i < end; ++i) {
        auto* data = static_cast<std::byte*>(arrays[i].data);
        std::copy_n(into_packet ? data : place, local_bytes(arrays[i]), into_packet ? place : data);
        place += local_bytes(arrays[i]);
      }
    };
    if (sends) copy(true);
    communicator.broadcast(packet, 0);
    if (!sends) copy(false);
    if (options.progressed) options.progressed();
  }
}

/// Collective. Fills sharded arrays, each rank its own shards.
void read_sharded(Communicator& communicator, const CheckpointHeader& header,
                  const std::vector<ArrayView>& arrays, const FileOptions& options) {
  if (arrays.empty()) return;
  std::string wrong;
  in_collective(communicator, options, [&] {
    auto file = hdf5::File::open_shared(communicator, header.path, hdf5::Mode::read, options.hints);
    wrong = fill(communicator, file, header, arrays, options);
    file.close();
  });
  agree(communicator, [&] {
    if (!wrong.empty()) throw FileError(wrong);
  });
}

}  // namespace

std::string verify_arrays(Communicator& communicator, const CheckpointHeader& header,
                          const FileOptions& options) {
  std::string wrong;
  if (communicator.rank() == 0) wrong = verify_replicated(header, options);
  wrong = communicator.broadcast(wrong, 0);
  if (!wrong.empty()) return wrong;
  in_collective(communicator, options, [&] {
    auto file = hdf5::File::open_shared(communicator, header.path, hdf5::Mode::read, options.hints);
    wrong = first_damage(
        header, damaged_shards(communicator, file, header, Kind::sharded, communicator.rank(),
                               communicator.size(), options.progressed));
    file.close();
  });
  for (const auto& reason : communicator.all_gather(wrong)) {
    if (!reason.empty()) return reason;
  }
  return "";
}

void read_checkpoint(Communicator& communicator, const CheckpointHeader& header,
                     const std::vector<ArrayView>& arrays, Sharding sharding,
                     const FileOptions& options) {
  agree(communicator, [&] {
    check_views(arrays);
    check_arrays(header, arrays, sharding);
  });
  const std::vector<ArrayView> replicated = of_kind(arrays, Kind::replicated);
  on_first_rank(communicator, [&] { read_replicated(header, replicated, options); });
  share(communicator, replicated, options);
  read_sharded(communicator, header, of_kind(arrays, Kind::sharded), options);
  // Digests are the file's shards': where ours lie elsewhere, the file is checked by its own.
  const bool other_shards = std::any_of(arrays.begin(), arrays.end(), [&](const auto& view) {
    return view.shards != header.find(view.name)->shards;
  });
  if (!other_shards) return;
  const std::string wrong = verify_arrays(communicator, header, options);
  if (!wrong.empty()) throw FileError(header.path + ": " + wrong);
}

}  // namespace stanley
