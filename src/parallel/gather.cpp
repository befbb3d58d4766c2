#include "parallel/gather.hpp"

#include <cstring>
#include <string>

namespace stanley {

std::vector<double> gather_numbers(const std::vector<double>& mine, Communicator& communicator) {
  const std::string bytes(reinterpret_cast<const char*>(mine.data()), mine.size() * sizeof(double));
  std::vector<double> all;
  for (const std::string& part : communicator.all_gather(bytes)) {
    const std::size_t before = all.size();
    all.resize(before + part.size() / sizeof(double));
    std::memcpy(all.data() + before, part.data(), part.size());
  }
  return all;
}

}  // namespace stanley
