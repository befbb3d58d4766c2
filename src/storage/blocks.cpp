#include "storage/blocks.hpp"

#include <algorithm>

namespace stanley::hdf5 {

std::size_t Block::elements() const {
  std::size_t product = 1;
  for (const std::int64_t extent : count) product *= static_cast<std::size_t>(extent);
  return product;
}

std::vector<std::int64_t> block_shape(const std::vector<std::int64_t>& shape,
                                      std::size_t element_bytes, std::size_t most_bytes) {
  std::vector<std::int64_t> block(shape.size(), 1);
  auto left = static_cast<std::int64_t>(std::max<std::size_t>(most_bytes / element_bytes, 1));
  // Whole from the fastest dimension on; the first that doesn't fit is cut, those above stay 1.
  for (std::size_t i = shape.size(); i-- > 0;) {
    block[i] = std::clamp<std::int64_t>(shape[i], 1, left);
    if (block[i] < shape[i]) break;
    left /= block[i];
  }
  return block;
}

std::vector<std::int64_t> chunk_or_block_shape(const Dataset& dataset, std::size_t most_bytes) {
  const Handle creation(H5Dget_create_plist(dataset.id()), H5Pclose);
  if (H5Pget_layout(creation.id()) != H5D_CHUNKED) {
    return block_shape(dataset.shape(), element_bytes(dataset.type()), most_bytes);
  }
  std::vector<hsize_t> chunk(dataset.shape().size());
  check(H5Pget_chunk(creation.id(), static_cast<int>(chunk.size()), chunk.data()),
        [&] { return "read the chunks of " + dataset.described(); });
  return {chunk.begin(), chunk.end()};
}

void for_each_block(const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& block,
                    const std::function<void(const Block&)>& step) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return;
  Block current{.start = std::vector<std::int64_t>(shape.size(), 0), .count = block};
  for (bool more = true; more;) {
    for (std::size_t i = 0; i < shape.size(); ++i) {
      current.count[i] = std::min(block[i], shape[i] - current.start[i]);
    }
    step(current);
    more = false;
    for (std::size_t i = shape.size(); i-- > 0 && !more;) {
      current.start[i] += block[i];
      more = current.start[i] < shape[i];
      if (!more) current.start[i] = 0;
    }
  }
}

Handle select_block(const Dataset& dataset, const Block& block) {
  const auto describe = [&] { return "select a part of " + dataset.described(); };
  Handle space(check(H5Dget_space(dataset.id()), describe), H5Sclose);
  if (block.start.empty()) return space;
  const std::vector<hsize_t> start(block.start.begin(), block.start.end());
  const std::vector<hsize_t> count(block.count.begin(), block.count.end());
  check(
      H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
      describe);
  return space;
}

void read_block(const Dataset& dataset, const Block& block, void* data) {
  read_block(dataset, block, memory_type(dataset.type()), data);
}

void read_block(const Dataset& dataset, const Block& block, hid_t type, void* data) {
  const auto describe = [&] { return "read " + dataset.described(); };
  const Handle space = select_block(dataset, block);
  const auto elements = static_cast<hsize_t>(block.elements());
  const Handle memory(check(H5Screate_simple(1, &elements, nullptr), describe), H5Sclose);
  check(H5Dread(dataset.id(), type, memory.id(), space.id(), H5P_DEFAULT, data), describe);
}

}  // namespace stanley::hdf5
