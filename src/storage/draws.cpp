#include "storage/draws.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <span>

#include "config/error.hpp"
#include "parallel/agree.hpp"
#include "storage/digest.hpp"
#include "storage/hdf5.hpp"
#include "storage/json_values.hpp"
#include "storage/scales.hpp"
#include "storage/transfer.hpp"

namespace stanley {
namespace {

constexpr const char* draws_schema = "1.1";
constexpr const char* digest_name = "digest";
constexpr const char* digest_chains_name = "digest_chains";
constexpr std::size_t most_chunk_bytes = std::size_t{8} << 20;

/// One array of the file, with this rank's part of it.
struct Part {
  std::string name;
  ElementType type;
  std::vector<std::int64_t> shape;
  std::vector<std::string> dimensions;
  const void* data;
};

/// Names of a state's dimensions.
std::vector<std::string> state_dimensions(const DrawSet& draws) {
  if (draws.state_shape.size() == 1) return {"dimension"};
  return {"channel", "height", "width"};
}

std::vector<Part> parts_of(const DrawSet& draws) {
  const auto count = static_cast<std::int64_t>(draws.draw_numbers.size());
  Part states{.name = "posterior/x",
              .type = ElementType::float32,
              .shape = {draws.chains, count},
              .dimensions = {"chain", "draw"},
              .data = draws.states};
  states.shape.insert(states.shape.end(), draws.state_shape.begin(), draws.state_shape.end());
  for (const std::string& name : state_dimensions(draws)) states.dimensions.push_back(name);
  std::vector<Part> parts{std::move(states)};
  for (const auto& statistic : draws.statistics) {
    parts.push_back({"sample_stats/" + statistic.name,
                     statistic.type,
                     {draws.chains, count},
                     {"chain", "draw"},
                     statistic.data});
  }
  return parts;
}

void check_draws(const DrawSet& draws) {
  const bool states = draws.state_shape.size() == 1 || draws.state_shape.size() == 3;
  const bool rows = draws.chain_count == 0 ||
                    (draws.first_chain % draws.chains_per_shard == 0 && draws.first_chain >= 0 &&
                     draws.first_chain + draws.chain_count <= draws.chains);
  if (states && rows && draws.chains > 0 && !draws.draw_numbers.empty()) return;
  throw Error(ExitCode::bug, "draws of " + std::to_string(draws.chains) + " chains, state shape " +
                                 shape_text(draws.state_shape) + ", chains " +
                                 std::to_string(draws.first_chain) + " to " +
                                 std::to_string(draws.first_chain + draws.chain_count) +
                                 " here, can't be written");
}

std::vector<std::int64_t> chunk_of(const Part& part, const DrawSet& draws) {
  return chunk_shape(part.shape, draws.chains_per_shard, element_bytes(part.type));
}

hdf5::Slicing slicing_of(const Part& part, const DrawSet& draws, const Progressed& progressed) {
  const auto chunk = chunk_of(part, draws);
  return {.unit = chunk[0], .unit_within = chunk[1], .progressed = progressed};
}

std::size_t bytes_in_file(const Part& part, const DrawSet& draws) {
  // Chunks at the edge take the space of whole ones.
  const auto chunk = chunk_of(part, draws);
  std::size_t bytes = element_bytes(part.type);
  for (std::size_t i = 0; i < chunk.size(); ++i) {
    bytes *= static_cast<std::size_t>((part.shape[i] + chunk[i] - 1) / chunk[i] * chunk[i]);
  }
  return bytes;
}

std::uint64_t fold(const std::vector<std::uint64_t>& digests) {
  return digest(std::as_bytes(std::span(digests)));
}

std::span<const std::byte> local_bytes_of(const Part& part, const DrawSet& draws) {
  return {static_cast<const std::byte*>(part.data),
          static_cast<std::size_t>(draws.chain_count) * row_bytes(part.type, part.shape)};
}

/// Collective. The digest of an array as all ranks hold it in memory: that of the digests of each
/// shard's chains, so that it doesn't depend on how shards are dealt.
std::uint64_t digest_in_memory(Communicator& communicator, const Part& part, const DrawSet& draws) {
  const auto bytes = local_bytes_of(part, draws);
  const std::size_t shard =
      static_cast<std::size_t>(draws.chains_per_shard) * row_bytes(part.type, part.shape);
  PartDigester digester(shard);
  digester.feed(bytes);
  std::vector<std::uint64_t> all;
  for (const auto& text : communicator.all_gather(to_bytes(digester.digests()))) {
    const auto theirs = from_bytes<std::vector<std::uint64_t>>(text);
    all.insert(all.end(), theirs.begin(), theirs.end());
  }
  return fold(all);
}

void write_attributes(const hdf5::File& file, const std::string& object, const DrawSet& draws) {
  const auto handle = hdf5::open_object(file, object);
  hdf5::write_attribute(handle.id(), "schema_version", std::string(draws_schema));
  for (const auto& [name, value] : draws.attributes) {
    std::visit([&, &name = name](const auto& v) { hdf5::write_attribute(handle.id(), name, v); },
               value);
  }
}

/// A few samples, small enough for rank 0 to write alone with the schema.
void write_observed(const hdf5::File& file, const DrawSet& draws, hdf5::Scales& scales) {
  if (draws.observed.empty()) return;
  std::vector<std::int64_t> shape = draws.state_shape;
  shape.insert(shape.begin(), static_cast<std::int64_t>(draws.observed.size()) /
                                  total_bytes(1, draws.state_shape).value());
  std::vector<std::string> dimensions = state_dimensions(draws);
  dimensions.insert(dimensions.begin(), "sample");
  hdf5::Dataset dataset =
      hdf5::make_dataset(file, "observed_data/x", ElementType::float32, shape, {});
  dataset.write_all(draws.observed.data());
  scales.attach(dataset, dimensions);
}

void create_schema(const hdf5::File& file, const DrawSet& draws, const std::vector<Part>& parts,
                   const std::vector<std::uint64_t>& digests) {
  hdf5::make_groups(file, "posterior");
  hdf5::make_groups(file, "sample_stats");
  for (const char* object : {"/", "posterior", "sample_stats"}) {
    write_attributes(file, object, draws);
  }
  hdf5::Scales scales(file);
  std::vector<std::int64_t> chain_ids(static_cast<std::size_t>(draws.chains));
  std::iota(chain_ids.begin(), chain_ids.end(), 0);
  // Each group has coordinates of its own: readers open one group at a time.
  for (const std::string group : {"posterior", "sample_stats"}) {
    scales.add(group + "/chain", chain_ids);
    scales.add(group + "/draw", draws.draw_numbers);
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Part& part = parts[i];
    const auto array =
        hdf5::make_dataset(file, part.name, part.type, part.shape, chunk_of(part, draws));
    scales.attach(array, part.dimensions);
    hdf5::write_attribute(array.id(), digest_name, digests[i]);
    hdf5::write_attribute(array.id(), digest_chains_name, draws.chains_per_shard);
  }
  write_observed(file, draws, scales);
}

std::optional<std::string> verify(Communicator& communicator, const hdf5::File& file,
                                  const DrawSet& draws, const std::vector<Part>& parts,
                                  const Progressed& progressed) {
  std::optional<std::string> wrong;
  for (const auto& part : parts) {
    const hdf5::Rows mine{draws.first_chain, draws.chain_count};
    const auto found = hdf5::digest_rows(communicator, hdf5::Dataset(file, part.name), mine,
                                         draws.chain_count, slicing_of(part, draws, progressed));
    if (draws.chain_count == 0 || wrong) continue;
    if (found.at(0) != digest(local_bytes_of(part, draws))) {
      wrong = "array '" + part.name + "' differs";
    }
  }
  return wrong;
}

}  // namespace

std::vector<std::int64_t> chunk_shape(const std::vector<std::int64_t>& shape,
                                      std::int64_t chains_per_shard,
                                      std::size_t bytes_per_element) {
  std::vector<std::int64_t> chunk = shape;
  chunk[0] = std::min(chains_per_shard, shape[0]);
  const auto limit = [&](std::size_t i, std::size_t bytes, std::size_t rest) {
    const auto fitting = std::max<std::int64_t>(
        static_cast<std::int64_t>(bytes / std::max<std::size_t>(rest, 1)), 1);
    if (chunk[i] <= fitting) return;
    chunk[i] = fitting;
    // Chunks that divide a shard never cross it.
    while (i == 0 && chains_per_shard % chunk[0] != 0) --chunk[0];
  };
  // The chains of a chunk are written and read with all their draws at once.
  std::size_t chain = bytes_per_element;
  for (std::size_t i = 1; i < shape.size(); ++i) chain *= static_cast<std::size_t>(shape[i]);
  limit(0, hdf5::slice_bytes, chain);
  // Draws are cut first, so that one draw of a shard's chains stays together, then chains, then
  // the state from its slowest dimension on.
  std::vector<std::size_t> order(shape.size());
  std::iota(order.begin(), order.end(), 0);
  std::swap(order[0], order[1]);
  for (const std::size_t i : order) {
    std::size_t rest = bytes_per_element;
    for (std::size_t k = 0; k < chunk.size(); ++k) {
      if (k != i) rest *= static_cast<std::size_t>(chunk[k]);
    }
    limit(i, most_chunk_bytes, rest);
  }
  return chunk;
}

CommitReport write_draws(Communicator& communicator, const std::string& path, const DrawSet& draws,
                         const FileOptions& options) {
  agree(communicator, [&] { check_draws(draws); });
  const std::vector<Part> parts = parts_of(draws);
  std::vector<std::uint64_t> digests;
  for (const auto& part : parts) digests.push_back(digest_in_memory(communicator, part, draws));
  FileRequest request{.path = path};
  request.bytes = 4096 + static_cast<std::int64_t>(draws.observed.size() * sizeof(float));
  for (const auto& part : parts) {
    request.bytes += static_cast<std::int64_t>(bytes_in_file(part, draws));
  }
  request.create = [&](hdf5::File& file) { create_schema(file, draws, parts, digests); };
  request.write = [&](hdf5::File& file, const Progressed& progressed) {
    for (const auto& part : parts) {
      hdf5::write_rows(communicator, hdf5::Dataset(file, part.name),
                       {draws.first_chain, draws.chain_count}, part.data,
                       slicing_of(part, draws, progressed));
    }
  };
  request.verify = [&](hdf5::File& file, const Progressed& progressed) {
    return verify(communicator, file, draws, parts, progressed);
  };
  return commit(communicator, request, options);
}

bool is_draw_file(const std::string& path) {
  try {
    const auto file = hdf5::File::open(path, hdf5::Mode::read);
    return hdf5::exists(file, "posterior") && !hdf5::exists(file, "digests");
  } catch (const Error&) {
    return false;
  }
}

std::optional<bool> agrees_with_digest(const hdf5::Dataset& array, const Progressed& progressed) {
  const auto expected = hdf5::read_unsigned(array.id(), digest_name);
  if (!expected) return std::nullopt;
  const auto block = hdf5::read_integer(array.id(), digest_chains_name).value_or(0);
  if (array.shape().empty() || block < 1) return false;
  const std::int64_t chains = array.shape()[0];
  progressed();
  const auto digests = hdf5::digest_rows(*make_local_communicator(), array, {0, chains},
                                         std::min(block, chains), {.progressed = progressed});
  return fold(digests) == *expected;
}

}  // namespace stanley
