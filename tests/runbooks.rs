//! Whoever is woken by an alarm finds out what to do, and what watches the system asks for what there is: `docs/operations.md`
//! beside the template, the alerts, the dashboard and the agent.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_norway::Value;

use crate::documents::{OPERATIONS, slug};

const ALERTS: &str = include_str!("../infra/grafana/alerts.yaml");
const DASHBOARD: &str = include_str!("../infra/grafana/dashboard.json");
const TEMPLATE: &str = include_str!("../template.yaml");

/// Prometheus's rules.
fn alerts() -> Vec<Value> {
    let rules: Value = serde_norway::from_str(ALERTS).unwrap();
    let groups = rules["groups"].as_sequence().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_sequence().unwrap().clone()).collect()
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
