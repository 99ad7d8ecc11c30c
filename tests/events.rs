//! The events in `events/`, and the schedule's in `template.yaml`, each handed to its function as Lambda would. A file's
//! name says who is asked and what is answered: `submit-400-invalid-json.json`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bcrlapi_common::Deployment;
use bcrlapi_domain::OwnerScope;
use bcrlapi_submit::State;
use bcrlapi_tests::System;
use chrono::Utc;
use http::Response;
use lambda_http::Body;
use serde_json::Value;

async fn answer(system: &System, function: &str, event: &str) -> Response<Body> {
    let deployment = Deployment { store: system.stack().store().clone(), owner_scope: OwnerScope::default() };
    let state = State { deployment, apis: BTreeSet::new(), queue_limit: None };
    let request = lambda_http::request::from_str(event).unwrap_or_else(|error| panic!("{error} in {event}"));
    match function {
        "submit" => bcrlapi_submit::handle(&state, request, Utc::now()).await,
        "status" => bcrlapi_status::handle(&state.deployment, request, Utc::now()).await,
        "result" => bcrlapi_result::handle(&state.deployment, request, Utc::now()).await,
        other => panic!("no function is called {other}"),
    }
}

fn json(response: &Response<Body>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

fn in_repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_answered_as_its_name_says() {
    let system = System::start().await;
    let mut functions = BTreeSet::new();
    for entry in fs::read_dir(in_repository("events")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let (function, answered) = name.split_once('-').unwrap();
        let (status, what) = answered.split_once('-').unwrap_or((answered, ""));
        let response = answer(&system, function, &fs::read_to_string(&path).unwrap()).await;
        assert_eq!(response.status().as_str(), status, "{name}: {}", json(&response));
        if !response.status().is_success() {
            assert_eq!(response.headers()["x-amzn-errortype"], what, "{name}");
        }
        functions.insert(function.to_owned());
    }
    assert_eq!(functions, ["result", "status", "submit"].map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submitted_event_is_a_job_of_its_caller() {
    let system = System::start().await;
    let event = |name: &str| fs::read_to_string(in_repository("events").join(name)).unwrap();
    let submitted = answer(&system, "submit", &event("submit-202.json")).await;
    let listed = answer(&system, "status", &event("status-200-list.json")).await;
    assert_eq!(json(&listed)["jobs"][0]["uuid"], json(&submitted)["uuid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_is_told_how_the_lab_is() {
    let system = System::start().await;
    let template: serde_norway::Value =
        serde_norway::from_str(&fs::read_to_string(in_repository("template.yaml")).unwrap()).unwrap();
    let input = &template["Resources"]["Status"]["Properties"]["Events"]["Measure"]["Properties"]["Input"];
    // A value with a tag, `!Sub`, is looked through.
    let event = input.as_str().unwrap().replace("${AWS::AccountId}", "123456789012");
    let response = answer(&system, "status", &event).await;
    assert_eq!((response.status().as_u16(), &json(&response)["state"]), (200, &Value::from("offline")));
}
