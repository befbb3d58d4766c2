#include "commands/command.hpp"

#include "parallel/agree.hpp"

namespace stanley {

Config load_config_on_all(const std::string& path, const std::vector<std::string>& overrides,
                          Communicator& communicator) {
  std::string text;
  agree(communicator, [&] {
    if (communicator.rank() == 0) text = to_yaml(load_config(path, overrides));
  });
  return parse_config(communicator.broadcast(text, 0), path, {});
}

}  // namespace stanley
