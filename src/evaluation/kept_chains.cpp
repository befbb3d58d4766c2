#include "evaluation/kept_chains.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "config/files.hpp"
#include "parallel/agree.hpp"
#include "run/directory.hpp"
#include "storage/digest.hpp"
#include "storage/json_values.hpp"

namespace stanley {
namespace {

const std::size_t digits_of_digest = digest_text("").size();  // stand before the rest

/// The file's text without its digest; empty where it isn't there, or isn't whole.
std::string whole_text(const std::string& path) {
  const std::string text = read_file(path).value_or("");
  if (text.size() <= digits_of_digest) return "";
  std::string rest = text.substr(digits_of_digest);
  return text.starts_with(digest_text(rest)) ? rest : "";
}

}  // namespace

KeptChains::KeptChains(const std::string& output, const std::string& depends_on)
    : path_(fmt::format("{}.chains-{}", output, digest_text(depends_on))) {}

nlohmann::json KeptChains::take_up(ChainRun& run, Communicator& communicator) const {
  std::string text;
  on_first_rank(communicator, [&] { text = whole_text(path_); });
  text = communicator.broadcast(std::move(text), 0);
  if (text.empty()) return nullptr;
  const auto kept = nlohmann::json::from_cbor(text);
  run.restore(kept["done"], kept["chains"].get_binary());
  return kept["noted"];
}

void KeptChains::keep(ChainRun& run, const nlohmann::json& noted,
                      Communicator& communicator) const {
  std::vector<std::uint8_t> chains = run.snapshot();
  on_first_rank(communicator, [&] {
    const std::string text =
        to_bytes(nlohmann::json{{"done", run.done()},
                                {"noted", noted},
                                {"chains", nlohmann::json::binary(std::move(chains))}});
    replace_shared_file(path_, digest_text(text) + text);
  });
}

}  // namespace stanley
