#include "commands/json_report.hpp"
#include "commands/status_report.hpp"
#include "storage/json_values.hpp"

// The reports of `stanley status` as a script reads them: the keys stand in tools/README.md.

namespace stanley {
namespace {

ReportJson event_json(const RunEvent& event) {
  return {{"time", event.time},
          {"what", event.what},
          {"iteration", event.iteration},
          {"detail", event.detail}};
}

ReportJson owner_json(const OwnerStatus& owner) {
  return {{"alive", owner.alive},
          {"host", owner.host},
          {"process", owner.process},
          {"job", owner.job},
          {"seconds_since_heartbeat", owner.seconds_since_heartbeat}};
}

ReportJson checkpoint_json(const CheckpointStatus& checkpoint) {
  return {{"path", checkpoint.path},
          {"iteration", checkpoint.iteration},
          {"bytes", checkpoint.bytes},
          {"seconds_old", checkpoint.seconds_old},
          {"header_sound", checkpoint.problems.empty()},
          {"problems", checkpoint.problems}};
}

ReportJson evaluation_json(const EvaluationStatus& evaluation) {
  return {{"time", evaluation.time},
          {"seconds_old", evaluation.seconds_old},
          {"path", evaluation.path},
          {"protocol", evaluation.protocol},
          {"iteration", evaluation.iteration},
          {"states", evaluation.states},
          {"kid", evaluation.kid},
          {"kid_interval_95", {ReportJson(evaluation.kid_low), ReportJson(evaluation.kid_high)}},
          {"fid", evaluation.fid}};
}

ReportJson kid_json(const TrainingKid& kid) {
  return {{"iteration", kid.iteration}, {"value", kid.value}};
}

/// What `as` makes of a part; null where there is none.
template <typename Part, typename As>
ReportJson part_json(const std::optional<Part>& part, const As& as) {
  return part ? as(*part) : ReportJson(nullptr);
}

ReportJson percent_json(const RunStatus& run) {
  if (!run.iteration || !run.iterations || *run.iterations <= 0) return nullptr;
  return 100.0 * static_cast<double>(*run.iteration) / static_cast<double>(*run.iterations);
}

ReportJson run_json(const RunStatus& run) {
  ReportJson roll_backs = ReportJson::array();
  for (const RunEvent& one : run.roll_backs) roll_backs.push_back(event_json(one));
  return {{"path", run.path},
          {"is_run", run.is_run},
          {"name", run.name},
          {"kind", run.kind.empty() ? "training" : run.kind},
          {"state", run.state},
          {"stage", run.stage},
          {"iteration", run.iteration},
          {"iterations", run.iterations},
          {"percent", percent_json(run)},
          {"seconds_per_iteration", run.seconds_per_iteration},
          {"chain_steps_per_second", run.chain_steps_per_second},
          {"seconds_left", run.seconds_left},
          {"seconds_since_row", run.seconds_since_row},
          {"energy_data", number_json(run.energy_data)},
          {"energy_chains", number_json(run.energy_chains)},
          {"energy_noise", number_json(run.energy_noise)},
          {"gap", number_json(run.gap)},
          {"rows_read", run.rows_read},
          {"rows_not_finite", run.rows_not_finite},
          {"last_start", part_json(run.last_start, event_json)},
          {"last_stop", part_json(run.last_stop, event_json)},
          {"roll_backs", roll_backs},
          {"owner", part_json(run.owner, owner_json)},
          {"checkpoint", part_json(run.newest, checkpoint_json)},
          {"best", part_json(run.best, checkpoint_json)},
          {"evaluation", part_json(run.evaluation, evaluation_json)},
          {"kid_train", part_json(run.kid_train, kid_json)},
          {"kid_test", part_json(run.kid_test, kid_json)},
          {"remarks", run.remarks}};
}

}  // namespace

std::string as_json(const std::vector<RunStatus>& runs) {
  ReportJson list = ReportJson::array();
  for (const RunStatus& run : runs) list.push_back(run_json(run));
  return dumped(list);
}

}  // namespace stanley
