#include "evaluation/result.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "config/error.hpp"
#include "config/files.hpp"
#include "evaluation/pairs.hpp"
#include "run/directory.hpp"
#include "run/record.hpp"
#include "run/version.hpp"
#include "storage/folder.hpp"
#include "storage/json_values.hpp"

namespace stanley {
namespace {

using List = nlohmann::ordered_json;  // keeps the order of keys

constexpr const char* list_format = "stanley-evaluation";
constexpr int list_version = 1;

List as_json(const ClassResult& c) {
  return {{"name", c.name},
          {"states", c.states},
          {"ages", c.ages},
          {"kid", c.kid},
          {"kid_interval_95", {List(c.kid_low), List(c.kid_high)}},
          {"fid", c.fid},
          {"fid_extrapolated", c.fid_extrapolated},
          {"precision", c.precision},
          {"recall", c.recall},
          {"density", c.density},
          {"coverage", c.coverage},
          {"remarks", c.remarks}};
}

List as_json(const FreshChains& f) {
  const auto distances = [](const ClassResult& of) {
    List json = as_json(of);
    json.erase("name");
    return json;
  };
  List json{{"steps", f.steps},
            {"chains", f.chains},
            {"start", f.start},
            {"energy", as_json(f.energy)},
            {"result", distances(f.result)}};
  if (f.denoised) json["denoised"] = distances(*f.denoised);
  json["seconds"] = f.seconds;
  return json;
}

List as_json(const Denoised& d) {
  List classes = List::array();
  for (const ClassResult& one : d.classes) classes.push_back(as_json(one));
  return {{"how", d.how}, {"results", classes}, {"seconds", d.seconds}};
}

/// The parts that take the trained energy, as far as there are some.
void add_trained(List& json, const Evaluation& e) {
  if (e.energy) json["energy"] = as_json(*e.energy);
  if (e.energies) json["energies"] = as_json(*e.energies);
  if (e.denoised) json["denoised"] = as_json(*e.denoised);
  for (const FreshChains& one : e.fresh) json["fresh"].push_back(as_json(one));
  if (e.long_run) json["long_run"] = as_json(*e.long_run);
}

/// Fresh chains of as many steps, and as many.
bool same_fresh(const List& one, const List& other) {
  return one.value("steps", List()) == other.value("steps", List()) &&
         one.value("chains", List()) == other.value("chains", List());
}

/// Older entries that the new ones don't replace, and the new ones.
List merged_fresh(const List& older, const List& newer) {
  List merged = List::array();
  for (const List& one : older) {
    if (std::ranges::none_of(newer, [&](const List& other) { return same_fresh(one, other); })) {
      merged.push_back(one);
    }
  }
  merged.insert(merged.end(), newer.begin(), newer.end());
  return merged;
}

/// What the same weights gave before.
void keep_trained(List& json, const List& older) {
  const auto same = [&](const char* key) {
    return json.contains("energy") && older.contains("energy") &&
           json["energy"].value(key, List()) == older["energy"].value(key, List());
  };
  if (!same("digest") || !same("weights")) return;
  for (const char* part : {"energies", "denoised", "long_run"}) {
    if (!json.contains(part) && older.contains(part)) json[part] = older[part];
  }
  if (older.contains("fresh")) {
    json["fresh"] = merged_fresh(older["fresh"], json.value("fresh", List::array()));
  }
}

List as_json(const Evaluation& e) {
  List classes = List::array();
  for (const ClassResult& one : e.classes) classes.push_back(as_json(one));
  List json{{"path", e.path},
            {"kind", e.kind},
            {"iteration", e.iteration},
            {"states", e.states},
            {"states_available", e.available},
            {"states_younger", e.younger},
            {"states_denoised", e.states_denoised},
            {"chains", e.chains},
            {"shape", e.shape},
            {"states_digest", e.states_digest},
            {"protocol", as_json(e.protocol)},
            {"results", classes},
            {"diversity", e.diversity},
            {"seconds", e.seconds},
            {"time", utc_now()},
            {"version", build_version},
            {"commit", build_commit}};
  add_trained(json, e);
  return json;
}

/// What is known of the same states and the new result hasn't.
void keep_parts(List& json, const List& older) {
  if (older.value("states_digest", List()) != json["states_digest"]) return;
  keep_trained(json, older);
  keep_older(json["diversity"], older.value("diversity", List::object()));
}

/// Whether a part of an entry that is kept, and read for it, is of its kind.
bool is_entry(const List& entry) {
  if (!entry.is_object()) return false;
  const auto all = [&](std::initializer_list<const char*> parts, const auto& is_kind) {
    return std::ranges::all_of(
        parts, [&](const char* part) { return !entry.contains(part) || is_kind(entry[part]); });
  };
  const auto is_object = [](const List& part) { return part.is_object(); };
  return all({"protocol", "energy", "energies", "denoised", "long_run", "diversity"}, is_object) &&
         all({"fresh"}, [&](const List& part) {
           return part.is_array() && std::ranges::all_of(part, is_object);
         });
}

/// A list of ours: an object that says so, with entries of ours.
bool is_list(const List& list) {
  if (!list.is_object() || !list.contains("evaluations")) return false;
  if (list.value("format", List()) != list_format) return false;
  if (list.value("version", List()) != list_version || !list["evaluations"].is_array())
    return false;
  return std::ranges::all_of(list["evaluations"], is_entry);
}

List read_list(const std::string& path) {
  const auto refuse = [&](const std::string& reason) {
    throw FileError(
        fmt::format("{} {}: move it, or choose another name with --output", path, reason));
  };
  std::error_code ignored;
  const std::filesystem::file_status status = std::filesystem::status(path, ignored);
  if (!std::filesystem::exists(status)) {
    return {{"format", list_format}, {"version", list_version}, {"evaluations", List::array()}};
  }
  if (!std::filesystem::is_regular_file(status)) refuse("is no regular file");
  const std::optional<std::string> text = read_file(path);
  if (!text) refuse(fmt::format("can't be read ({})", std::strerror(errno)));
  List list = List::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!is_list(list)) refuse("is there and is no list of evaluations of this release");
  return list;
}

/// What makes two results answers to the same question.
List key_of(const List& evaluation) {
  return {evaluation.value("path", List()), evaluation.value("protocol", List()),
          evaluation.value("states", List())};
}

/// Keeps others on this host out of a folder's list, and those on others where the file system can.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder)
      : folder_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (folder_ >= 0) ::flock(folder_, LOCK_EX);  // some file systems have no locks
  }
  ~FolderLock() {
    if (folder_ >= 0) ::close(folder_);
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int folder_;
};

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

/// Where a name leads: a list that is a link stays one.
std::string target_of(const std::string& path) {
  return followed(std::filesystem::absolute(path).string());
}

std::string cell(const std::optional<double>& number, double scale, int digits) {
  return number ? fmt::format("{:.{}f}", *number * scale, digits) : "–";
}

std::string kid_cell(const ClassResult& c) {
  std::string text = cell(c.kid, 1000, 1);
  if (c.kid_low) text += fmt::format(" ({:.1f} to {:.1f})", *c.kid_low * 1000, *c.kid_high * 1000);
  return text;
}

std::string fid_cell(const ClassResult& c) {
  std::string text = c.fid ? fmt::format("{:.4g}", *c.fid) : "–";
  if (c.fid_extrapolated) text += fmt::format(" (∞: {:.4g})", *c.fid_extrapolated);
  return text;
}

}  // namespace

List as_json(const Protocol& p) {
  return {{"name", p.name},
          {"features", p.features},
          {"features_digest", p.features_digest},
          {"features_code_digest", p.features_code_digest},
          {"dimension", p.dimension},
          {"input", p.input ? List(*p.input) : List(nullptr)},
          {"data", p.data},
          {"data_digest", p.data_digest},
          {"split", p.split},
          {"reference", p.reference_count},
          {"range", p.range},
          {"kernel", fmt::format("(x.y/{} + 1)^3", p.dimension)},
          {"neighbours", neighbours_of_a_ball},
          {"jackknife_groups", p.groups}};
}

std::string as_text(const Evaluation& e) {
  std::string text = fmt::format(
      "{}: {} of {} states of {} chains against {} of split '{}' of {}\n"
      "protocol {}: features {} ({}){}{}\n\n",
      printable(e.path), e.states, e.available, e.chains, e.protocol.reference_count,
      printable(e.protocol.split), printable(e.protocol.data), printable(e.protocol.name),
      printable(e.protocol.features), e.protocol.dimension,
      e.protocol.features_digest.empty() ? "" : ", digest ", e.protocol.features_digest);
  const auto line = [&](const auto&... cells) {
    text += fmt::format("{:<24} {:>7} {:>27} {:>21} {:>10} {:>7} {:>8} {:>9}\n", cells...);
  };
  line("", "states", "KID·1000 (95 %)", "FID", "precision", "recall", "density", "coverage");
  std::vector<ClassResult> rows = e.classes;
  if (e.denoised) {
    for (ClassResult one : e.denoised->classes) {
      one.name = "denoised, " + one.name;
      rows.push_back(one);
    }
  }
  for (const FreshChains& one : e.fresh) {
    rows.push_back(one.result);
    if (one.denoised) rows.push_back(*one.denoised);
  }
  for (const ClassResult& c : rows) {
    line(c.name, c.states, kid_cell(c), fid_cell(c), cell(c.precision, 1, 3), cell(c.recall, 1, 3),
         cell(c.density, 1, 3), cell(c.coverage, 1, 3));
  }
  for (const ClassResult& c : rows) {
    for (const std::string& remark : c.remarks) text += fmt::format("{}: {}\n", c.name, remark);
  }
  if (e.younger > 0) {
    text += fmt::format(
        "{} states are younger, as those that the loss left out, and are not "
        "judged (--minimum-age)\n",
        e.younger);
  }
  if (!e.states_denoised.empty()) text += "the states are denoised: " + e.states_denoised + "\n";
  if (e.denoised) text += "denoised: " + e.denoised->how + "\n";
  if (e.energy) {
    text += fmt::format("\nenergy: {} weights of {} ({}, {})\n", e.energy->weights,
                        printable(e.energy->checkpoint), e.energy->arithmetic, e.energy->device);
  }
  if (e.energies) text += as_text(*e.energies);
  if (e.long_run) text += fmt::format("\n{}", as_text(*e.long_run));
  return text + as_text(e.diversity);
}

void check_list(const std::string& output) {
  read_list(output);
  if (::access(folder_of(target_of(output)).c_str(), W_OK) == 0) return;
  throw FileError(fmt::format("{} can't be written ({}): choose another place with --output",
                              output, std::strerror(errno)));
}

void record(const Evaluation& evaluation, const std::string& output) {
  const std::string target = target_of(output);
  const FolderLock lock(folder_of(target));
  List list = read_list(output);
  List result = as_json(evaluation);
  // A run may be moved with its list.
  const auto inside = std::filesystem::path(evaluation.path)
                          .lexically_relative(std::filesystem::absolute(folder_of(output)));
  if (!inside.empty() && *inside.begin() != "..") result["path"] = inside.string();
  List kept = List::array();
  for (const List& one : list["evaluations"]) {
    if (key_of(one) == key_of(result)) {
      keep_parts(result, one);
    } else {
      kept.push_back(one);
    }
  }
  kept.push_back(result);
  list["evaluations"] = kept;
  replace_shared_file(target, list.dump(2, ' ', false, List::error_handler_t::replace) + "\n");
}

}  // namespace stanley
