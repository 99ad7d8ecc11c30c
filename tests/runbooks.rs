//! Whoever is woken by an alarm finds out what to do, and what watches the system asks for what there is: `docs/operations.md`
//! beside the template, the alerts, the dashboard and the agent.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bcrlapi_domain::{JobId, Status};
use bcrlapi_exchange::layout;
use bcrlapi_local::until;
use bcrlapi_tests::{Process, System};
use serde_json::json;
use serde_norway::Value;

use crate::documents::{OPERATIONS, blocks, slug};

const ALERTS: &str = include_str!("../infra/grafana/alerts.yaml");
const DASHBOARD: &str = include_str!("../infra/grafana/dashboard.json");
const TEMPLATE: &str = include_str!("../template.yaml");

/// Prometheus's rules: those that alert, and those that only record.
fn rules() -> Vec<Value> {
    let rules: Value = serde_norway::from_str(ALERTS).unwrap();
    let groups = rules["groups"].as_sequence().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_sequence().unwrap().clone()).collect()
}

fn alerts() -> Vec<Value> {
    rules().into_iter().filter(|rule| !rule["alert"].is_null()).collect()
}

/// The alarms of `CloudWatch`, as the template calls them.
fn alarms() -> Vec<String> {
    let template: Value = serde_norway::from_str(TEMPLATE).unwrap();
    let resources = template["Resources"].as_mapping().unwrap().iter();
    let alarms = resources.filter(|(_, resource)| resource["Type"] == "AWS::CloudWatch::Alarm");
    alarms.map(|(name, _)| name.as_str().unwrap().to_owned()).collect()
}

/// The names in a chapter of the template.
fn template_names(chapter: &str) -> Vec<String> {
    let template: Value = serde_norway::from_str(TEMPLATE).unwrap();
    template[chapter].as_mapping().unwrap().keys().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// The names and texts of the runbooks.
fn runbooks() -> Vec<(&'static str, &'static str)> {
    let chapter = OPERATIONS.split_once("\n## Runbooks\n").unwrap().1.split("\n## ").next().unwrap();
    chapter.split("\n### ").skip(1).map(|section| section.split_once('\n').unwrap()).collect()
}

/// The words of a text that have the form of a metric of the agent's.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("bcrlapi_agent_")).collect()
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] }).collect()
}

/// The metrics that the agent's source names.
fn agent_metrics() -> BTreeSet<String> {
    let files = rust_files(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/agent/src")));
    let text: String = files.into_iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    metrics(&text).into_iter().map(str::to_owned).collect()
}

#[test]
fn every_alert_and_every_alarm_has_a_runbook_and_every_runbook_an_alert_or_alarm() {
    let alerts = alerts();
    let names = alerts.iter().map(|alert| alert["alert"].as_str().unwrap().to_owned());
    let wanted: BTreeSet<_> = names.chain(alarms()).collect();
    let there: BTreeSet<_> = runbooks().into_iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(there, wanted);
}

#[test]
fn every_parameter_and_every_output_of_the_template_is_explained() {
    let (_, chapter) = OPERATIONS.split_once("\n## Parameters\n").unwrap();
    let chapter = chapter.split("\n## ").next().unwrap();
    let names = ["Parameters", "Outputs"].into_iter().flat_map(template_names);
    let unexplained: Vec<_> = names.filter(|name| !chapter.contains(&format!("`{name}`"))).collect();
    assert_eq!(unexplained, Vec::<String>::new());
}

#[test]
fn every_alert_leads_to_its_runbook() {
    for alert in alerts() {
        let link = format!("docs/operations.md#{}", slug(alert["alert"].as_str().unwrap()));
        assert_eq!(alert["annotations"]["runbook_url"], link.as_str());
        assert!(alert["annotations"]["summary"].is_string(), "{link} says in a sentence what is wrong");
        assert!(alert["labels"]["severity"].is_string(), "{link} says how bad it is");
    }
}

#[test]
fn every_runbook_says_what_it_means_where_to_look_and_what_to_do() {
    for (name, text) in runbooks() {
        let parts = ["\n**Meaning.** ", "\n**Look here.** ", "\n**Do this.** "];
        let places: Vec<_> = parts.into_iter().map(|part| text.find(part)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{name}: {places:?}");
    }
}

#[test]
fn what_is_asked_for_is_what_the_agent_serves_and_the_document_explains() {
    let served = agent_metrics();
    let asked = metrics(ALERTS).into_iter().chain(metrics(DASHBOARD));
    let unknown: Vec<_> = asked.filter(|metric| !served.contains(*metric)).collect();
    assert_eq!(unknown, Vec::<&str>::new(), "the agent serves {served:?}");
    let explained = OPERATIONS.lines().filter(|line| line.starts_with("| `bcrlapi_agent_"));
    let explained: BTreeSet<_> = explained.flat_map(metrics).map(str::to_owned).collect();
    assert_eq!(explained, served);
}

#[test]
fn what_the_rules_record_the_document_explains() {
    let recorded: Vec<_> = rules().iter().filter_map(|rule| rule["record"].as_str().map(str::to_owned)).collect();
    assert_eq!(recorded.len(), 2);

    for name in recorded {
        assert!(OPERATIONS.contains(&format!("`{name}`")), "{name}");
    }
}

/// The uuid that stands for any job's in the runbooks.
const SOME_UUID: &str = "01a2017b-7dfb-7c3a-9f21-5b7d0e4a6c18";

/// Whoever follows a runbook, in a lab of the test's own.
struct Operator<'a> {
    system: &'a System,
    /// The agent's log is the journal.
    agent: &'a Process,
}

impl Operator<'_> {
    /// Does what stands in one of the blocks of shell of a runbook, about this job, and says what
    /// was printed.
    fn follow(&self, runbook: &str, block: usize, id: JobId) -> String {
        // There is no systemd here.
        const AROUND: &str = "journalctl() { cat journal; }\nsystemctl() { echo \"systemctl $*\"; }\ntimedatectl() { echo NTP; }\nset -o nounset\n";
        let (_, text) = runbooks().into_iter().find(|(name, _)| *name == runbook).unwrap();
        let replaced = [
            ("/shared/bcrlapi", self.system.shared("")),
            ("/opt/lab/main.py", self.system.path("programs/app-server/main.py")),
            ("/tmp/response.json", self.system.path("response.json")),
        ];
        let mut script =
            format!("{AROUND}uuid={id}\n{}\n", blocks(text, "sh")[block].replace(SOME_UUID, &id.to_string()));
        for (from, to) in replaced {
            script = script.replace(from, to.to_str().unwrap());
        }
        if let Some(url) = metrics_url(self.agent) {
            script = script.replace("http://127.0.0.1:9464/metrics", &url);
        }

        fs::write(self.system.path("journal"), self.agent.log()).unwrap();
        fs::write(self.system.path("runbook.sh"), script).unwrap();
        let mut bash = Command::new("bash");
        bash.arg("runbook.sh").current_dir(self.system.path("")).env("no_proxy", "*");
        let ran = bash.output().unwrap();
        let words = [ran.stdout, ran.stderr].map(|words| String::from_utf8(words).unwrap());
        assert!(!words[1].contains("command not found") && !words[1].contains("syntax error"), "{words:?}");
        words.concat()
    }
}

fn metrics_url(agent: &Process) -> Option<String> {
    let log = agent.log();
    let (_, address) = log.lines().find(|line| line.contains("serving metrics"))?.split_once("address=")?;
    Some(format!("http://{address}/metrics"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_stays_in_processing_is_found_and_ended() {
    let system = System::start().await;
    let agent = system.start_agent();
    let operator = Operator { system: &system, agent: &agent };
    let hangs = system.submit("mock", &json!({"gate": "never"})).await.uuid;
    let worker = system.start_worker();
    system.reached(hangs, Status::Processing).await;

    let found = operator.follow("BcrlapiProcessingAge", 0, hangs);
    let [entry, journal, program] = ["\"uuid\"", "processing uuid=", "record.py"]
        .map(|word| found.lines().find(|line| line.contains(word) && line.contains(&hangs.to_string())));
    assert!(entry.is_some() && journal.is_some(), "{found}");
    let pid = program.unwrap_or_else(|| panic!("{found}")).split(' ').next().unwrap();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    let ended = system.reached(hangs, Status::Done).await;
    assert_eq!(ended.outcome.as_deref(), Some("failed"));
    drop(worker);

    let orphan = system.submit("mock", &json!({})).await.uuid;
    system.entry(orphan).await;
    let status = fs::read_to_string(system.shared(layout::STATUS)).unwrap();
    fs::write(system.shared(layout::STATUS), status.replace("pending", "processing")).unwrap();
    system.reached(orphan, Status::Processing).await;
    operator.follow("BcrlapiProcessingAge", 1, orphan);
    let ended = system.reached(orphan, Status::Done).await;
    let reason = "the program failed and gave no reason";
    assert_eq!((ended.outcome.as_deref(), ended.error.as_deref()), (Some("failed"), Some(reason)));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_every_job_fails_the_runbook_shows_why() {
    let system = System::start().await;
    let agent = system.start_agent();
    let operator = Operator { system: &system, agent: &agent };
    let job = system.submit("mock", &json!({"fail_rate": 1})).await.uuid;
    let _worker = system.start_worker();
    system.reached(job, Status::Done).await;

    // The agent logs what it has told the cloud a moment after the cloud knows.
    let reason = "the mock failed";
    let seen = until("the log and the queue to say why", async || {
        let seen = operator.follow("BcrlapiEveryJobFails", 0, job);
        let says = |word: &str| seen.lines().any(|line| line.contains(word) && line.contains(reason));
        (says(" failed uuid=") && says("\"uuid\"")).then_some(seen)
    });
    let seen = seen.await.unwrap();
    assert!(seen.contains("Filesystem"), "{seen}");

    let by_hand = operator.follow("BcrlapiEveryJobFails", 1, job);
    assert!(by_hand.contains(reason) && by_hand.contains("exit code 1"), "{by_hand}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_memory_and_what_the_clock_says_is_shown() {
    let system = System::start().await;
    let agent = system.start_agent_with(&[("BCRLAPI_METRICS", "127.0.0.1:0")]);
    until("the metrics to be served", async || metrics_url(&agent)).await.unwrap();
    let job = system.submit("mock", &json!({})).await.uuid;
    system.entry(job).await;

    let operator = Operator { system: &system, agent: &agent };
    let seen = operator.follow("BcrlapiMemoryHigh", 0, job);
    for name in ["memory_bytes", "memory_limit_bytes", "queue_entries", "queue_bytes", "displaced_queues"] {
        assert!(seen.lines().any(|line| line.starts_with(&format!("bcrlapi_agent_{name} "))), "{name} in {seen}");
    }
    assert!(seen.contains("MemoryMax") && seen.contains("status.json"), "{seen}");

    let clock = operator.follow("BcrlapiClockWrong", 0, job);
    assert!(clock.lines().any(|line| line.starts_with("bcrlapi_agent_clock_ahead_seconds ")), "{clock}");
    assert!(clock.contains("UTC") && clock.contains("NTP"), "{clock}");
}

#[test]
fn the_dashboard_can_be_imported_beside_any_data_source() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_eq!(dashboard["uid"], "bcrlapi-agent");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(variables.iter().any(|variable| variable["name"] == "datasource" && variable["type"] == "datasource"));
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        }
    }
}
