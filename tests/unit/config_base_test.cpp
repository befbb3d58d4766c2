#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "config/config.hpp"
#include "config/error.hpp"
#include "config/keys.hpp"
#include "temporary_directory.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

/// Files that inherit from each other, in a folder of their own.
class ConfigBase : public TemporaryDirectory {
 protected:
  std::string write(const std::string& name, const std::string& text) const {
    const fs::path path = fs::path(directory_) / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return path.string();
  }

  Config load(const std::string& name, const std::vector<std::string>& overrides = {}) const {
    return load_config(directory_ + "/" + name, overrides);
  }

  /// The message of the refusal, the folder's name left out; "accepted" if there was none.
  std::string refusal(const std::string& name,
                      const std::vector<std::string>& overrides = {}) const {
    try {
      load(name, overrides);
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ExitCode::configuration);
      std::string text = error.what();
      const std::string folder = directory_ + "/";
      for (auto at = text.find(folder); at != std::string::npos; at = text.find(folder)) {
        text.erase(at, folder.size());
      }
      return text;
    }
    return "accepted";
  }
};

/// A plane without images: it needs no file.
const std::string plane = "data: {type: rings, batch: 64}\nchains: {total: 256, active: 64}\n";

TEST_F(ConfigBase, MappingsMergeAndAllElseIsReplaced) {
  write("common/deep.yaml", plane +
                                "energy: {type: mlp, hidden: [1, 2, 3], slope: 0.1}\n"
                                "sampler: {threshold: {quantile: 0.5}, steps: 3}\n"
                                "chains: {restart_probability: {from: 0.05, to: 0.01}}\n");
  EXPECT_EQ(refusal("common/deep.yaml"),
            "common/deep.yaml:5:1: chains: repeated key, first in line 2: keep one of the two");
  write("common/deep.yaml",
        "data: {type: rings, batch: 64}\n"
        "chains: {total: 256, active: 64, restart_probability: {from: 0.05, to: 0.01}}\n"
        "energy: {type: mlp, hidden: [1, 2, 3], slope: 0.1}\n"
        "sampler: {threshold: {quantile: 0.5}, steps: 3}\n"
        "checkpoint: {hints: {a: 1, b: 2}}\n");
  write("middle.yaml", "base: common/deep.yaml\nenergy: {hidden: [7]}\nsampler: {steps: 4}\n");
  write("child.yaml",
        "sampler: {threshold: 5, box: null}\nbase: middle.yaml\n"
        "chains: {restart_probability: {to: 0.02}}\ncheckpoint: {hints: {b: 3}}\n");
  const Config config = load("child.yaml", {"energy.slope=0.3"});
  EXPECT_EQ(config.energy.hidden, (std::vector<std::int64_t>{7}));
  EXPECT_EQ(config.energy.slope, 0.3);
  EXPECT_EQ(config.sampler.steps, 4);
  EXPECT_EQ(config.sampler.threshold, (Threshold{5.0, std::nullopt}));
  EXPECT_EQ(config.sampler.box, std::nullopt);
  EXPECT_EQ(config.chains.restart_probability, RestartSchedule(0.05, 0.02));
  EXPECT_EQ(config.checkpoint.hints, (std::map<std::string, std::string>{{"a", "1"}, {"b", "3"}}));
  EXPECT_EQ(to_yaml(config).find("base"), std::string::npos);
}

TEST_F(ConfigBase, FileThatIsABaseAloneIsTheBase) {
  write("base.yaml", plane);
  write("child.yaml", "base: base.yaml\n");
  EXPECT_EQ(load("child.yaml"), load("base.yaml"));
  const std::string elsewhere = write("elsewhere/child.yaml", "base: ../base.yaml\n");
  EXPECT_EQ(load("elsewhere/child.yaml"), load("base.yaml"));
  write("absolute.yaml", "base: \"" + elsewhere + "\"\n");
  EXPECT_EQ(load("absolute.yaml"), load("base.yaml"));
}

TEST_F(ConfigBase, OneOfNoiseAndTemperatureReplacesTheOther) {
  write("noise.yaml", plane + "sampler: {noise: 0.1}\n");
  write("warm.yaml", "base: noise.yaml\nsampler: {temperature: 2}\n");
  write("noisy.yaml", "base: warm.yaml\nsampler: {noise: 0.2}\n");
  write("both.yaml", "base: noise.yaml\nsampler: {noise: 0.2, temperature: 2}\n");
  write("neither.yaml", "base: noise.yaml\nsampler: {noise: null}\n");
  EXPECT_EQ(load("warm.yaml").sampler.temperature, 2.0);
  EXPECT_EQ(load("warm.yaml").sampler.noise, std::nullopt);
  EXPECT_EQ(load("noisy.yaml").sampler.temperature, std::nullopt);
  EXPECT_EQ(load("noisy.yaml").sampler.noise, 0.2);
  EXPECT_TRUE(refusal("both.yaml").starts_with("both.yaml:2:36: sampler.temperature: "))
      << refusal("both.yaml");
  EXPECT_TRUE(refusal("neither.yaml").starts_with("neither.yaml:2:18: sampler.noise: one of "));
}

TEST_F(ConfigBase, AnotherTypeLeavesTheKeysOfTheOld) {
  write("base.yaml",
        "data: {path: a.h5, flip: true}\nenergy: {type: torchscript, path: a.pt}\n"
        "optimizer: {type: sgd, momentum: 0.9}\n");
  write("child.yaml",
        "base: base.yaml\ndata: {type: rings}\nenergy: {type: mlp}\noptimizer: {type: adam}\n");
  EXPECT_TRUE(refusal("child.yaml").starts_with("base.yaml:1:26: data.flip: "))
      << "the base didn't say that its data are a file";
  write("base.yaml",
        "data: {type: file, path: a.h5, flip: true}\nenergy: {type: torchscript, path: a.pt}\n"
        "optimizer: {type: sgd, momentum: 0.9}\n");
  EXPECT_EQ(load("child.yaml").energy.path, "");
  EXPECT_EQ(load("child.yaml").optimizer.momentum, 0.0);
  EXPECT_FALSE(load("child.yaml").data.flip);
  write("same.yaml", "base: base.yaml\nenergy: {type: torchscript}\noptimizer: {type: sgd}\n");
  EXPECT_EQ(load("same.yaml").energy.path, "a.pt");
  EXPECT_EQ(load("same.yaml").optimizer.momentum, 0.9);
}

TEST_F(ConfigBase, MistakesOfAllFilesAreToldWithTheirPlaces) {
  write("deep.yaml", plane + "run: {sed: 3}\nsampler: {steps: many}\n");
  write("base.yaml", "base: deep.yaml\nlog:\n  every: 0\n");
  write("child.yaml",
        "base: base.yaml\nrun: {name: 3}\nsampler: {steps: 5}\nlog: {every: 5}\n"
        "chains: {total: 100}\n");
  EXPECT_EQ(refusal("child.yaml", {"run.seed=-1"}),
            "child.yaml:2:13: run.name: expected a name of letters, digits and . _ - (no other "
            "characters, not all dots), found 3 (to make it text, put it in quotes)\n"
            "child.yaml:5:17: chains.total: chains.shards 8 (the default) must divide chains.total "
            "100\n"
            "child.yaml:5:17: chains.total: chains.active 64 must divide chains.total 100\n"
            "base.yaml:3:10: log.every: expected an integer of at least 1, found 0\n"
            "deep.yaml:3:7: run.sed: unknown key; the nearest known key is run.seed\n"
            "deep.yaml:4:18: sampler.steps: expected an integer in [1, 1073741824], found many\n"
            "--set run.seed=-1: run.seed: expected an integer in [0, 4294967295], found -1");
}

TEST_F(ConfigBase, ContradictionsStandWhereTheValueDoes) {
  write("base.yaml", plane + "checkpoint: {every: 10}\n");
  write("child.yaml", "base: base.yaml\ncheckpoint:\n  keep_every: 15\n");
  EXPECT_EQ(refusal("child.yaml"),
            "child.yaml:3:15: checkpoint.keep_every: checkpoint.keep_every 15 must be a multiple "
            "of checkpoint.every 10");
  write("child.yaml", "base: base.yaml\nchains: {active: 60}\n");
  EXPECT_TRUE(refusal("child.yaml").starts_with("child.yaml:2:18: chains.active: "));
}

TEST_F(ConfigBase, BaseThatCannotBeReadLeavesTheOtherMistakes) {
  write("child.yaml", "base: nowhere.yaml\nlog: {every: 0}\nchains: {total: 100}\n");
  EXPECT_EQ(refusal("child.yaml"),
            "child.yaml:1:7: base: expected a configuration file that can be read, found "
            "nowhere.yaml: No such file or directory\n"
            "child.yaml:2:14: log.every: expected an integer of at least 1, found 0");
  write("child.yaml", "base: .\n");
  EXPECT_TRUE(refusal("child.yaml").ends_with(": Is a directory")) << refusal("child.yaml");
  for (const std::string value : {"3", "null", "[a.yaml]", "{file: a.yaml}", "true"}) {
    write("child.yaml", "base: " + value + "\n");
    EXPECT_EQ(refusal("child.yaml"),
              "child.yaml:1:7: base: expected the path of a configuration file, found " + value);
  }
}

TEST_F(ConfigBase, BrokenBaseIsToldUnderItsName) {
  write("child.yaml", "base: base.yaml\nlog: {every: 0}\n");
  const std::string own =
      "child.yaml:2:14: log.every: expected an integer of at least 1, found 0\n";
  write("base.yaml", "");
  EXPECT_EQ(refusal("child.yaml"),
            own + "base.yaml: the file is empty: expected sections such as 'run:' and 'energy:'");
  write("base.yaml", "run: [\n");
  EXPECT_TRUE(refusal("child.yaml").starts_with(own + "base.yaml:2:1: not YAML"))
      << refusal("child.yaml");
  write("base.yaml", "- run\n");
  EXPECT_TRUE(refusal("child.yaml").starts_with(own + "base.yaml:1:1: expected sections"));
}

TEST_F(ConfigBase, CirclesAreMistakes) {
  write("a.yaml", "base: sub/b.yaml\n");
  write("sub/b.yaml", "base: c.yaml\n");
  write("sub/c.yaml", "base: ../a.yaml\n");
  EXPECT_EQ(refusal("a.yaml"),
            "sub/c.yaml:1:7: base: expected a file that doesn't inherit this one, found a.yaml");
  write("self.yaml", "base: ./self.yaml\n");
  EXPECT_TRUE(refusal("self.yaml").starts_with("self.yaml:1:7: base: expected a file that"));
}

TEST_F(ConfigBase, OnlyFilesNameABase) {
  write("base.yaml", plane);
  const std::string why = "only a configuration file that is read from the disk has a base";
  EXPECT_EQ(refusal("base.yaml", {"base=base.yaml"}), "--set base=base.yaml: base: " + why);
  try {
    parse_config("base: base.yaml\n", "checkpoint.h5", {});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with("checkpoint.h5:1:1: base: " + why));
  }
  EXPECT_TRUE(refusal("base.yaml", {"run.base=base.yaml"}).find("unknown key") !=
              std::string::npos);
  write("typo.yaml", "bases: base.yaml\n" + plane);
  EXPECT_EQ(refusal("typo.yaml"),
            "typo.yaml:1:1: bases: unknown key; the nearest known key is base");
}

TEST(ConfigValues, AreToldPlainly) {
  Config config;
  config.run.name = "a b";
  config.data.path = "";
  config.sampler.threshold = {5.0, std::nullopt};
  config.chains.restart_probability = {0.05, 0.01};
  config.checkpoint.hints = {{"cb_nodes", "4"}};
  for (const auto& [path, value] : std::vector<std::pair<std::string, std::string>>{
           {"run.name", "a b"},
           {"data.path", ""},
           {"run.seed", "1"},
           {"run.until", "null"},
           {"run.device", "auto"},
           {"run.reproducible", "false"},
           {"energy.hidden", "[128, 128]"},
           {"data.range", "[-1, 1]"},
           {"sampler.noise", "0.005"},
           {"sampler.threshold", "5"},
           {"chains.restart_probability", "{from: 0.05, to: 0.01}"},
           {"checkpoint.hints", "{\"cb_nodes\": \"4\"}"}}) {
    EXPECT_EQ(plain_value(config, path), value) << path;
  }
  try {
    plain_value(config, "run.sed");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::configuration);
    EXPECT_STREQ(error.what(), "run.sed: unknown key; the nearest known key is run.seed");
  }
}

/// The schema of a key's value.
nlohmann::json at(const nlohmann::json& schema, std::string path) {
  for (std::size_t dot = path.find('.'); dot != std::string::npos; dot = path.find('.')) {
    path.replace(dot, 1, "/properties/");
  }
  return schema.at(nlohmann::json::json_pointer("/properties/" + path));
}

TEST(ConfigSchema, HasEveryKeyWithItsMeaningAndItsDefault) {
  const auto schema = nlohmann::json::parse(configuration_schema());
  Config defaults;
  for (const Key& key : describe(defaults)) {
    const auto entry = at(schema, key.path);
    EXPECT_TRUE(entry["description"].get<std::string>().starts_with(key.meaning)) << key.path;
    EXPECT_TRUE(entry.contains("default")) << key.path;
    EXPECT_TRUE(entry.contains("type") || entry.contains("enum") || entry.contains("anyOf"));
  }
  EXPECT_EQ(at(schema, "base")["type"], "string");
  EXPECT_EQ(schema["additionalProperties"], false);
  EXPECT_EQ(at(schema, "optimizer.schedule")["additionalProperties"], false);
}

TEST(ConfigSchema, HasTypesRangesAndNames) {
  const auto schema = nlohmann::json::parse(configuration_schema());
  const auto expect = [&](const std::string& path, const char* wanted) {
    auto found = at(schema, path);
    found.erase("description");
    EXPECT_EQ(found, nlohmann::json::parse(wanted)) << path;
  };
  expect("run.threads",
         R"({"type": ["integer", "null"], "minimum": 1, "maximum": 65536, "default": null})");
  expect("energy.slope",
         R"({"type": "number", "minimum": 0, "exclusiveMaximum": 1, "default": 0.2})");
  expect("sampler.step_size", R"({"type": "number", "exclusiveMinimum": 0, "default": 20.0})");
  expect("run.reproducible", R"({"type": "boolean", "default": false})");
  expect("optimizer.type", R"({"enum": ["adam", "sgd"], "default": "adam"})");
  expect("sampler.box", R"({"type": ["array", "null"], "items": {"type": "number"}, "minItems": 2,
                            "maxItems": 2, "default": [-1.0, 1.0]})");
  expect("sampler.threshold",
         R"({"anyOf": [{"type": "number", "minimum": 0},
                       {"type": "object", "additionalProperties": false, "required": ["quantile"],
                        "properties": {"quantile": {"type": "number", "exclusiveMinimum": 0,
                                                    "maximum": 1}}}],
             "default": {"quantile": 0.8}})");
}

}  // namespace
}  // namespace stanley
