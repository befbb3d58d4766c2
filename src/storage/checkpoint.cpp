#include "storage/checkpoint.hpp"

#include <algorithm>
#include <span>

#include "config/error.hpp"
#include "parallel/agree.hpp"
#include "storage/checkpoint_schema.hpp"
#include "storage/digest.hpp"
#include "storage/hdf5.hpp"
#include "storage/transfer.hpp"

// The arrays of a checkpoint: written, verified and read by all ranks together.

namespace stanley {
namespace {

/// The rows that this rank writes: its shards, or all of a replicated array on rank 0.
hdf5::Rows written_rows(const ArrayView& view, int rank) {
  if (view.shards == 0) return {0, rank == 0 ? row_count(view.shape) : 0};
  const std::int64_t rows = row_count(view.shape) / view.shards;
  return {view.first_shard * rows, view.shard_count * rows};
}

/// The rows that this rank reads: its shards, or all of a replicated array.
hdf5::Rows read_rows_of(const ArrayView& view) { return written_rows(view, 0); }

/// Where this rank's digests stand among those of the array.
hdf5::Rows written_digests(const ArrayView& view, int rank) {
  if (view.shards == 0) return {0, rank == 0 ? 1 : 0};
  return {view.first_shard, view.shard_count};
}

std::vector<std::uint64_t> digests_in_memory(const ArrayView& view, std::int64_t parts) {
  return digest_parts({static_cast<const std::byte*>(view.data), local_bytes(view)}, parts);
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

std::optional<std::string> verify_written(Communicator& communicator, const hdf5::File& file,
                                          const std::vector<ArrayView>& arrays,
                                          const Digests& digests, const Progressed& progressed) {
  std::optional<std::string> wrong;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const ArrayView& view = arrays[i];
    const hdf5::Rows mine = written_rows(view, communicator.rank());
    const std::int64_t part = row_count(view.shape) / std::max<std::int64_t>(view.shards, 1);
    const auto found = hdf5::digest_rows(communicator, hdf5::Dataset(file, view.name), mine, part,
                                         {.progressed = progressed});
    const hdf5::Rows own = written_digests(view, communicator.rank());
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

}  // namespace

CommitReport write_checkpoint(Communicator& communicator, const std::string& directory,
                              const CheckpointContents& contents, const FileOptions& options) {
  agree(communicator, [&] { check_views(contents.arrays); });
  const int rank = communicator.rank();
  Digests digests;
  for (const auto& view : contents.arrays) {
    const hdf5::Rows own = written_digests(view, rank);
    digests.push_back(digests_in_memory(view, own.count));
  }
  FileRequest request{.path = checkpoint_path(directory, contents.iteration)};
  request.bytes = expected_bytes(contents);
  request.link = latest_link;
  request.create = [&](hdf5::File& file) {
    create_checkpoint_schema(file, contents, communicator.size());
  };
  request.write = [&](hdf5::File& file, const Progressed& progressed) {
    for (std::size_t i = 0; i < contents.arrays.size(); ++i) {
      const ArrayView& view = contents.arrays[i];
      hdf5::write_rows(communicator, hdf5::Dataset(file, view.name), written_rows(view, rank),
                       view.data, {.progressed = progressed});
      hdf5::write_rows(communicator, hdf5::Dataset(file, digests_name(view.name)),
                       written_digests(view, rank), digests[i].data());
    }
  };
  request.verify = [&](hdf5::File& file, const Progressed& progressed) {
    return verify_written(communicator, file, contents.arrays, digests, progressed);
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
                                         const CheckpointHeader& header, int rank, int size,
                                         const Progressed& progressed) {
  std::vector<DamagedShard> damaged;
  for (std::size_t i = 0; i < header.arrays.size(); ++i) {
    const StoredArray& array = header.arrays[i];
    const std::int64_t part_rows = row_count(array.shape) / std::max<std::int64_t>(array.shards, 1);
    const hdf5::Rows parts = checked_parts(array, i, rank, size);
    const auto found = hdf5::digest_rows(communicator, hdf5::Dataset(file, array.name),
                                         {parts.first * part_rows, parts.count * part_rows},
                                         part_rows, {.progressed = progressed});
    for (std::size_t k = 0; k < found.size(); ++k) {
      const auto shard = static_cast<std::size_t>(parts.first) + k;
      if (found[k] != array.digests[shard]) {
        damaged.push_back({i, static_cast<std::int64_t>(shard)});
      }
    }
  }
  return damaged;
}

std::optional<std::string> verify_arrays(Communicator& communicator, const hdf5::File& file,
                                         const CheckpointHeader& header,
                                         const Progressed& progressed) {
  const auto damaged = damaged_shards(communicator, file, header, communicator.rank(),
                                      communicator.size(), progressed);
  if (damaged.empty()) return std::nullopt;
  const StoredArray& array = header.arrays[damaged.front().array];
  std::string wrong = "array '" + array.name + "' doesn't agree with its digest";
  if (array.shards > 0) wrong += " in shard " + std::to_string(damaged.front().shard);
  return wrong;
}

void read_checkpoint(Communicator& communicator, const CheckpointHeader& header,
                     const std::vector<ArrayView>& arrays, Sharding sharding,
                     const FileOptions& options) {
  agree(communicator, [&] {
    check_views(arrays);
    check_arrays(header, arrays, sharding);
  });
  std::optional<std::string> wrong;
  in_collective(communicator, options, [&] {
    auto file = hdf5::File::open_shared(communicator, header.path, hdf5::Mode::read, options.hints);
    bool other_shards = false;
    for (const auto& view : arrays) {
      const StoredArray& stored = *header.find(view.name);
      hdf5::read_rows(communicator, hdf5::Dataset(file, view.name), read_rows_of(view), view.data,
                      {.progressed = options.progressed});
      if (view.shards != stored.shards) {
        other_shards = true;
        continue;
      }
      const hdf5::Rows own = written_digests(view, 0);
      const auto first = stored.digests.begin() + own.first;
      const std::vector<std::uint64_t> expected(first, first + own.count);
      if (digests_in_memory(view, own.count) != expected && !wrong) {
        wrong = "array '" + view.name + "' doesn't agree with its digest";
      }
    }
    // Digests are the file's shards': where ours lie elsewhere, the file is checked by its own.
    if (other_shards) {
      if (auto reason = verify_arrays(communicator, file, header, options.progressed); !wrong)
        wrong = reason;
    }
    file.close();
  });
  agree(communicator, [&] {
    if (wrong) throw Error(ExitCode::input_output, header.path + ": " + *wrong);
  });
}

}  // namespace stanley
