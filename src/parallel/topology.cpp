#include "parallel/topology.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>

namespace stanley {

std::string to_string(const Device& device) {
  if (device.kind == DeviceKind::cpu) return "cpu";
  return fmt::format("cuda:{} {} ({}){}", device.index, device.name, device.uuid,
                     device.shared ? ", ranks share GPUs: gradients go through the host" : "");
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name"))
      return line.substr(std::min(line.size(), line.find(": ") + 2));
  }
  return "";
}

std::string topology_table(const Session& session, const Device& device, int threads) {
  std::size_t width = 4;
  for (const std::string& host : session.hosts()) width = std::max(width, host.size());
  const std::string mine = fmt::format("{:>4}  {:<{}}  {:>10}  {:>7}  {}\n", session.rank(),
                                       session.hosts()[static_cast<std::size_t>(session.rank())],
                                       width, session.local_rank(), threads, to_string(device));
  std::string table = fmt::format("{:>4}  {:<{}}  {:>10}  {:>7}  {}\n", "rank", "host", width,
                                  "local rank", "threads", "device");
  for (const std::string& line : session.world().all_gather(mine)) table += line;
  return table;
}

}  // namespace stanley
