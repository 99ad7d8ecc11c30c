//! `infra/openapi.yaml` and the functions say the same. Besides what stands here, every answer that any test gets is
//! looked up in the document.

use std::collections::{BTreeMap, BTreeSet};

use bcrlapi_api::{
    JobLinks, JobList, JobResource, LabPresence, LabState, Problem, ProblemBody, ProblemKind, ResultLink, Route,
    content_digest, routes,
};
use bcrlapi_domain::{JobId, Outcome, Status};
use bcrlapi_local::Settings;
use bcrlapi_tests::{Document, Reply, Request, System, payload};
use chrono::{TimeDelta, Utc};
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Whether the functions, or the gateway, can answer a call of this route with this kind of problem.
fn can_answer(route: Route, kind: ProblemKind) -> bool {
    use ProblemKind as K;
    let has_job = route.template().contains("{uuid}");
    let has_result = matches!(route, Route::Result | Route::ResultLink);
    match kind {
        K::Forbidden | K::InvalidParameter => true,
        K::NoSuchPath | K::MethodNotAllowed => false,
        K::InvalidJson
        | K::InvalidHeader
        | K::NoSuchApi
        | K::RequestTooLarge
        | K::UnsupportedMediaType
        | K::IdempotencyKeyReused
        | K::DigestMismatch
        | K::QueueFull => route == Route::Submit,
        K::NotCancelable | K::AlreadyDone => route == Route::Cancel,
        K::NoSuchJob | K::Expired => has_job,
        K::ResultNotReady | K::JobFailed | K::JobCanceled | K::JobLost => has_result,
        K::ResultTooLarge => route == Route::Result,
        K::Internal | K::Unavailable => route != Route::OpenApi,
    }
}

fn document() -> &'static Document {
    Document::get()
}

/// The document's answers of a route, by status.
fn responses(route: Route) -> BTreeMap<u16, &'static Value> {
    let responses = document().operation(route)["responses"].as_object().unwrap().iter();
    responses.map(|(status, response)| (status.parse().unwrap(), document().resolve(response))).collect()
}

/// The codes of problems that an answer can have.
fn codes(response: &Value) -> BTreeSet<&str> {
    let codes = response["headers"]["x-amzn-ErrorType"]["schema"]["x-extensible-enum"].as_array();
    codes.into_iter().flatten().map(|code| code.as_str().unwrap()).collect()
}

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_document_has_every_route_with_its_parameters_and_no_other() {
    let paths = document().json()["paths"].as_object().unwrap().iter();
    let documented = paths.flat_map(|(path, item)| {
        names(item).into_iter().filter(|name| *name != "parameters").map(move |method| (method.to_uppercase(), path))
    });
    let routes = Route::ALL.map(|route| (route.method().to_string(), route.template().to_owned()));
    assert_eq!(documented.map(|(method, path)| (method, path.clone())).collect::<BTreeSet<_>>(), routes.into());
    for route in Route::ALL {
        let path = document().json()["paths"][route.template()]["parameters"].as_array();
        let own = document().operation(route)["parameters"].as_array();
        let all = path.into_iter().chain(own).flatten().map(|parameter| document().resolve(parameter));
        let (mut in_query, mut in_path) = (Vec::new(), String::new());
        for parameter in all {
            let name = parameter["name"].as_str().unwrap();
            match parameter["in"].as_str().unwrap() {
                "query" => in_query.push(name),
                "path" => in_path += &format!("{{{name}}}"),
                _ => {}
            }
        }
        let wanted: String = route.template().split('/').filter(|segment| segment.starts_with('{')).collect();
        assert_eq!((in_query.as_slice(), in_path), (route.parameters(), wanted), "{route:?}");
    }
}

#[test]
fn the_document_has_every_problem_where_it_can_happen_and_nowhere_else() {
    for route in Route::ALL {
        let documented: BTreeSet<(u16, &str)> = responses(route)
            .into_iter()
            .flat_map(|(status, response)| codes(response).into_iter().map(move |code| (status, code)))
            .collect();
        let kinds = ProblemKind::ALL.into_iter().filter(|&kind| can_answer(route, kind));
        let possible = kinds.map(|kind| (kind.status().as_u16(), kind.code())).collect();
        assert_eq!(documented, possible, "{route:?}");
    }
    let schema = &document().json()["components"]["schemas"]["Problem"]["properties"];
    let types = ProblemKind::ALL.map(|kind| json!(Problem::new(kind, "").body("").kind));
    assert_eq!(schema["type"]["x-extensible-enum"].as_array().unwrap(), &types);
    let statuses: BTreeSet<_> = ProblemKind::ALL.map(|kind| u64::from(kind.status().as_u16())).into();
    let documented = schema["status"]["x-extensible-enum"].as_array().unwrap().iter();
    assert_eq!(documented.map(|status| status.as_u64().unwrap()).collect::<Vec<_>>(), Vec::from_iter(statuses));
}

#[test]
fn a_problem_has_its_own_example_and_says_whether_waiting_helps() {
    for (route, response) in
        Route::ALL.into_iter().flat_map(|route| responses(route).into_values().map(move |r| (route, r)))
    {
        let codes = codes(response);
        if codes.is_empty() {
            continue;
        }
        let kinds: Vec<_> = ProblemKind::ALL.into_iter().filter(|kind| codes.contains(kind.code())).collect();
        let waits = kinds.iter().filter(|kind| kind.retry_after_s().is_some()).count();
        let retry_after = document().resolve(&response["headers"]["Retry-After"]);
        let expected = if waits == 0 {
            json!(null)
        } else if waits == kinds.len() {
            json!(true)
        } else {
            json!(false)
        };
        let documented = if retry_after.is_null() { json!(null) } else { json!(retry_after["required"] == true) };
        assert_eq!(documented, expected, "{route:?} {codes:?}");

        let examples = &response["content"]["application/problem+json"]["examples"];
        assert_eq!(names(examples), codes, "{route:?}");
        for kind in kinds {
            let example: ProblemBody =
                serde_json::from_value(document().resolve(&examples[kind.code()])["value"].clone()).unwrap();
            let mut body = Problem::new(kind, &example.detail).body(&example.instance);
            body.link.clone_from(&example.link);
            assert_eq!(example, body, "an example is what is sent");
        }
    }
}

/// Reads and writes a value as the client command does.
fn written_again<T: DeserializeOwned + Serialize>(value: &Value) -> Value {
    let read: T = serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error} in {value}"));
    serde_json::to_value(read).unwrap()
}

#[test]
fn every_example_fits_its_schema_and_the_clients_types() {
    let mut seen = BTreeSet::new();
    let mut check = |schema: &Value, example: &Value| {
        document().assert_fits(schema, example, "an example");
        let name = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()).unwrap_or_default();
        let again = match name {
            "Job" => written_again::<JobResource>(example),
            "JobList" => written_again::<JobList>(example),
            "Lab" => written_again::<LabState>(example),
            "ResultLink" => written_again::<ResultLink>(example),
            "Problem" => written_again::<ProblemBody>(example),
            _ => return,
        };
        assert_eq!(again, *example, "the type knows every field");
        seen.insert(name.to_owned());
    };
    walk(document().json(), &mut check);
    assert_eq!(seen, ["Job", "JobList", "Lab", "Problem", "ResultLink"].map(str::to_owned).into());
}

/// Gives `check` every example below `node`, with its schema.
fn walk(node: &Value, check: &mut impl FnMut(&Value, &Value)) {
    for item in node.as_array().into_iter().flatten() {
        walk(item, check);
    }
    let Some(members) = node.as_object() else { return };
    let schema = members.get("schema").or_else(|| members.get("type").filter(|kind| kind.is_string()).map(|_| node));
    if let Some(schema) = schema {
        let many = members.get("examples").and_then(Value::as_object).into_iter().flat_map(|many| many.values());
        let many = many.map(|example| &document().resolve(example)["value"]);
        members.get("example").into_iter().chain(many).for_each(|example| check(schema, example));
    }
    for (_, member) in members.iter().filter(|(name, _)| !["example", "examples"].contains(&name.as_str())) {
        walk(member, check);
    }
}

#[test]
fn the_clients_types_fit_the_schemas_field_by_field() {
    let id: JobId = "018aef2c-7a00-7000-8000-000000000001".parse().unwrap();
    let (date, link, digest) = (Utc::now(), "https://api.example/prod".to_owned(), payload("{}").sha256);
    let links = JobLinks { this: link.clone(), result: link.clone(), result_link: link.clone(), cancel: link.clone() };
    let job = JobResource {
        uuid: id,
        api: "soc".parse().unwrap(),
        status: Status::Done,
        outcome: Some("failed".to_owned()),
        error: Some("no sample".to_owned()),
        progress: Some(100),
        message: Some("day 30 of 30".to_owned()),
        request_date: date,
        start_date: Some(date),
        finish_date: Some(date),
        expiry_date: date,
        cancel_requested: true,
        links: links.clone(),
    };
    let list = JobList { jobs: vec![job.clone()], next_cursor: Some("A".repeat(32)) };
    let lab = LabState {
        state: LabPresence::Online,
        last_sync: Some(date),
        pending: 1,
        processing: u64::MAX >> 1,
        waiting_since: Some(date),
    };
    let content_digest = content_digest::render(&digest);
    let result_link = ResultLink { url: link.clone(), expires_at: date, size: 2, content_digest };
    let problem = Problem { link: Some(link), ..Problem::new(ProblemKind::ResultTooLarge, "follow the link") };
    for (name, value) in [
        ("Job", serde_json::to_value(job)),
        ("JobLinks", serde_json::to_value(links)),
        ("JobList", serde_json::to_value(list)),
        ("Lab", serde_json::to_value(lab)),
        ("ResultLink", serde_json::to_value(result_link)),
        ("Problem", serde_json::to_value(problem.body("id"))),
    ] {
        let (value, schema) = (value.unwrap(), &document().json()["components"]["schemas"][name]);
        document().assert_fits(schema, &value, name);
        assert_eq!(names(&value), names(&schema["properties"]), "{name}");
        let mut more = value.clone();
        more["unheard_of"] = json!(1);
        assert!(!document().errors(schema, &more).is_empty(), "{name} has all that we say");
        assert_eq!(document().client_errors(schema, &more), [""; 0], "a client has to bear more");
        for field in names(&value) {
            let mut less = value.clone();
            less[field] = Value::Null;
            let is_nullable = schema["properties"][field]["nullable"] == true;
            assert_eq!(document().errors(schema, &less).is_empty(), is_nullable, "{name} {field}");
            assert_eq!(fits_type(name, &less), is_nullable || (name, field) == ("Problem", "link"), "{name} {field}");
        }
    }
}

#[test]
fn a_word_that_is_not_known_fits_where_the_contract_may_gain_words_and_nowhere_else() {
    let schemas = &document().json()["components"]["schemas"];
    for (name, field, may_gain) in [
        ("Job", "outcome", true),
        ("Problem", "type", true),
        ("Problem", "status", true),
        ("Job", "status", false),
        ("Lab", "state", false),
    ] {
        let schema = &schemas[name]["properties"][field];
        let unknown = if field == "status" && name == "Problem" { json!(418) } else { json!("https://unheard.of") };
        assert_eq!(document().client_errors(schema, &unknown).is_empty(), may_gain, "{name} {field}");
        assert!(!document().errors(schema, &unknown).is_empty(), "{name} {field}: we say nothing else");
    }
    let outcome = schemas["Job"]["properties"]["outcome"]["x-extensible-enum"].as_array().unwrap();
    assert_eq!(outcome, &Outcome::ALL.map(|outcome| json!(outcome.as_str())));
}

#[test]
fn every_operation_has_one_tag_that_is_explained() {
    let explained = document().json()["tags"].as_array().unwrap().iter().map(|tag| tag["name"].clone());
    let used = Route::ALL.into_iter().map(|route| {
        let [tag] = document().operation(route)["tags"].as_array().unwrap().as_slice() else { panic!("{route:?}") };
        tag.as_str().unwrap()
    });
    assert_eq!(explained.collect::<Vec<_>>(), used.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
}

/// Whether the type of this schema can be read from a value.
fn fits_type(name: &str, value: &Value) -> bool {
    fn reads<T: DeserializeOwned>(value: &Value) -> bool {
        serde_json::from_value::<T>(value.clone()).is_ok()
    }
    match name {
        "Job" => reads::<JobResource>(value),
        "JobLinks" => reads::<JobLinks>(value),
        "JobList" => reads::<JobList>(value),
        "Lab" => reads::<LabState>(value),
        "ResultLink" => reads::<ResultLink>(value),
        "Problem" => reads::<ProblemBody>(value),
        other => panic!("no type is called {other}"),
    }
}

#[test]
fn every_part_of_the_document_is_used() {
    let text = document().json().to_string();
    let sections = document().json()["components"].as_object().unwrap().iter();
    for (section, parts) in sections.filter(|(section, _)| *section != "securitySchemes") {
        for name in names(parts) {
            assert!(text.contains(&format!("\"#/components/{section}/{name}\"")), "{section}/{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_is_the_document() {
    let system = System::start().await;
    let served = system.request(Method::GET, routes::OPENAPI, "").send().await;
    let mut document = document().json().clone();
    document["servers"] = json!([{"url": system.url("")}]);
    assert_eq!((served.status.as_u16(), served.json()), (200, document), "and its server is the one that was asked");
    let known = system.request(Method::GET, routes::OPENAPI, "").header("if-none-match", served.header("etag"));
    assert_eq!(known.send().await.status, 304);
    Request::new(Method::GET, &system.url(routes::OPENAPI), "", None).send().await.assert_problem(403, "forbidden");
}

/// What was answered: the route, the status and, where there is one, the code of the problem.
type Seen = BTreeSet<(&'static str, u16, String)>;

/// What a problem says, whichever job or number it says it of.
fn shape_of(detail: &str) -> String {
    let words = detail.split(' ').map(|word| if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// A caller who notes every answer.
struct Notes<'a> {
    system: &'a System,
    seen: Seen,
    /// Code and detail of each problem.
    details: BTreeSet<(String, String)>,
}

impl Notes<'_> {
    async fn ask(&mut self, route: Route, uuid: &str) -> Reply {
        self.ask_with(route, uuid, |request| request).await
    }

    async fn ask_with(&mut self, route: Route, uuid: &str, change: impl FnOnce(Request) -> Request) -> Reply {
        let path = route.template().replace("{uuid}", uuid).replace("{api}", "mock");
        self.send(route, change(self.system.request(route.method(), &path, "{}"))).await
    }

    async fn send(&mut self, route: Route, request: Request) -> Reply {
        let reply = request.send().await;
        let code = reply.headers.get("x-amzn-errortype").map_or("", |code| code.to_str().unwrap());
        if !code.is_empty() {
            self.details.insert((code.to_owned(), shape_of(reply.json()["detail"].as_str().unwrap())));
        }
        self.seen.insert((route.template(), reply.status.as_u16(), code.to_owned()));
        reply
    }

    /// A job of Alice's, as the cloud has it.
    async fn job(&mut self) -> JobId {
        self.ask(Route::Submit, "").await.json()["uuid"].as_str().unwrap().parse().unwrap()
    }
}

/// All that may be seen of the document where no store is away.
fn documented() -> Seen {
    let mut all = Seen::new();
    for route in Route::ALL {
        for (status, response) in responses(route).into_iter().filter(|(status, _)| *status < 500) {
            let codes = codes(response);
            let codes = if codes.is_empty() { BTreeSet::from([""]) } else { codes };
            all.extend(codes.into_iter().map(|code| (route.template(), status, code.to_owned())));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_the_document_is_given() {
    let system = System::start_with(Settings { queue_limit: Some(8), ..Settings::default() }).await;
    let (store, now) = (system.stack().store(), Utc::now());
    let mut notes = Notes { system: &system, seen: Seen::new(), details: BTreeSet::new() };

    let expired = JobId::earliest(now - TimeDelta::days(8)).to_string();
    let unknown = JobId::earliest(now).to_string();
    for route in Route::ALL {
        let path = route.template().replace("{uuid}", &unknown).replace("{api}", "mock");
        notes.send(route, Request::new(route.method(), &system.url(&path), "{}", None)).await;
        notes.send(route, system.request(route.method(), &format!("{path}?verbose=1"), "{}")).await;
        if path.contains(&unknown) {
            notes.ask(route, &unknown).await;
            notes.ask(route, &expired).await;
        }
    }
    for route in [Route::List, Route::Lab, Route::OpenApi] {
        notes.ask(route, "").await;
        notes.ask_with(route, "", |request| request.header("if-none-match", "*")).await;
    }
    submits(&mut notes).await;

    let waiting = notes.job().await;
    notes.ask(Route::Result, &waiting.to_string()).await;
    store.take(waiting).await.unwrap();
    notes.ask(Route::Cancel, &waiting.to_string()).await;
    store.report(waiting, Some(40), Some("day 12 of 30"), now).await.unwrap();
    let (canceled, failed, lost) = (notes.job().await, notes.job().await, notes.job().await);
    notes.ask(Route::Cancel, &canceled.to_string()).await;
    store.fail(failed, "bad input: capacity_ah must be greater than 0", None, now).await.unwrap();
    store.lose(lost, "the program did not finish within the lab's time limit", now).await.unwrap();
    let (small, large) = (notes.job().await, notes.job().await);
    system.finish(small, r#"{"soc_percent": 64.9}"#).await;
    system.finish(large, &format!("\"{}\"", "x".repeat(7_000_000))).await;
    for id in [waiting, canceled, failed, lost, small, large].map(|id| id.to_string()) {
        for route in [Route::Status, Route::Result, Route::ResultLink, Route::Cancel] {
            notes.ask(route, &id).await;
            notes.ask_with(route, &id, |request| request.header("if-none-match", "*")).await;
        }
    }
    notes.ask(Route::List, "").await;
    while notes.ask(Route::Submit, "").await.status == 202 {}
    let missing: Seen = documented().difference(&notes.seen).cloned().collect();
    assert_eq!(missing, Seen::new());
    let mut made_up = examples_of_problems();
    made_up.retain(|example| !notes.details.contains(example));
    // What is left is not said here: no store is away or damaged.
    let unsaid = [Problem::internal(""), Problem::unavailable("")];
    let unsaid: BTreeSet<_> = unsaid.map(|said| (said.kind.code().to_owned(), shape_of(&said.detail))).into();
    assert_eq!(made_up, unsaid, "an example says what the API says");
}

/// Code and detail of every example of a problem.
fn examples_of_problems() -> BTreeSet<(String, String)> {
    let examples = document().json()["components"]["examples"].as_object().unwrap().values();
    let problems = examples.filter_map(|example| serde_json::from_value::<ProblemBody>(example["value"].clone()).ok());
    problems.map(|problem| (problem.code().to_owned(), shape_of(&problem.detail))).collect()
}

/// Every answer to a submit.
async fn submits(notes: &mut Notes<'_>) {
    let system = notes.system;
    let submit = |body: &str| system.request(Method::POST, &System::submit_path("mock"), body);
    let nothing = system.request(Method::POST, &System::submit_path("sock"), "{}");
    let mut twice = submit("{}").header("idempotency-key", "k");
    twice.signed.headers_mut().append("idempotency-key", "k".parse().unwrap());
    let keyed = |body: &str| submit(body).header("idempotency-key", "k");
    let large = format!("\"{}\"", "x".repeat(4 << 20));
    let other = content_digest::render(&payload("[]").sha256);
    for request in [
        nothing,
        submit("soc"),
        submit(&large),
        submit("{}").header("content-type", "text/plain"),
        twice,
        submit("{}").header("content-digest", &other),
        keyed("{}"),
        keyed("{}"),
        keyed("[]"),
    ] {
        notes.send(Route::Submit, request).await;
    }
}
