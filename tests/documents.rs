//! Every example in the documents does what the document says, every link leads somewhere, and what stands in two places
//! is the same in both.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bcrlapi_api::{ProblemKind, Route};
use bcrlapi_exchange::Queue;
use serde_json::{Value, json};

pub(crate) const OPERATIONS: &str = include_str!("../docs/operations.md");
pub(crate) const SHARED_DIRECTORY: &str = include_str!("../docs/shared-directory.md");
const SHARED_DIRECTORY_JA: &str = include_str!("../docs/shared-directory.ja.md");
const HTTP_API: &str = include_str!("../docs/http-api.md");

/// The document's code blocks in this language.
pub(crate) fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    document.split(&opening).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

#[test]
fn the_json_of_the_shared_directory_is_what_the_agent_writes() {
    let [queue, request] = blocks(SHARED_DIRECTORY, "json")[..] else { panic!("the document shows two files") };
    let parsed = Queue::parse(queue.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(parsed.render()).unwrap(), format!("{queue}\n"));
    let request: Value = serde_json::from_str(request).unwrap();
    let fields: Vec<_> = request.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["uuid", "api", "request_date", "input"]);
    assert_eq!(request["uuid"], json!(parsed.entries()[0].id()));
}

/// The document's code blocks, whatever their language.
fn all_blocks(document: &str) -> Vec<&str> {
    document.split("\n```").skip(1).step_by(2).collect()
}

/// The anchor that GitHub gives a heading.
pub(crate) fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The document without its code blocks.
fn prose(document: &str) -> String {
    document.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

fn anchors(document: &str) -> BTreeSet<String> {
    let prose = prose(document);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| slug(line.trim_start_matches('#'))).collect()
}

/// How its headings, rows of tables and points of lists follow one another.
fn shape(document: &str) -> Vec<String> {
    let marks = ["#", "##", "###", "|", "-", "1.", "2.", "3.", "4.", "5."];
    let prose = prose(document);
    let firsts = prose.lines().filter_map(|line| line.split(' ').next());
    firsts.filter(|first| marks.contains(first)).map(str::to_owned).collect()
}

/// Where the document's links lead, but for those out of the project.
fn links(document: &str) -> Vec<String> {
    let prose = prose(document);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// All documents of the project.
fn markdown_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let ours = entries.filter(|entry| {
        let name = entry.file_name().into_string().unwrap();
        !name.starts_with('.') && !["target", "node_modules"].contains(&name.as_str())
    });
    let paths = ours.map(|entry| entry.path());
    let found = paths.flat_map(|path| if path.is_dir() { markdown_files(&path) } else { vec![path] });
    found.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let documents = markdown_files(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")));
    let mut links_seen = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text) {
            links_seen += 1;
            let (file, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { document.clone() } else { document.with_file_name(file) };
            assert!(target.exists(), "{}: {link}", document.display());
            let there = |anchor: &str| anchors(&fs::read_to_string(&target).unwrap()).contains(anchor);
            assert!(anchor.is_none_or(there), "{}: {link}", document.display());
        }
    }
    assert!(links_seen > 20, "the walk sees what is there: {links_seen}");
}

#[test]
fn the_shared_directory_has_the_same_examples_and_chapters_in_both_languages() {
    assert_eq!(all_blocks(SHARED_DIRECTORY), all_blocks(SHARED_DIRECTORY_JA));
    assert_eq!(shape(SHARED_DIRECTORY), shape(SHARED_DIRECTORY_JA));
}

#[test]
fn the_http_api_explains_every_kind_of_problem_and_no_other() {
    let rows = HTTP_API.lines().filter(|line| line.starts_with("| 4") || line.starts_with("| 5"));
    let explained: BTreeSet<_> = rows.map(|row| row.split(" | ").take(2).collect::<Vec<_>>().join(" ")).collect();
    let kinds = ProblemKind::ALL.into_iter();
    let wanted = kinds.map(|kind| format!("| {} `{}`", kind.status().as_u16(), kind.code())).collect();
    assert_eq!(explained, wanted);
}

#[test]
fn the_examples_of_the_http_api_are_those_of_the_document() {
    let document: Value = serde_norway::from_str(include_str!("../infra/openapi.yaml")).unwrap();
    let example = |name: &str| document["components"]["examples"][name]["value"].clone();
    let [job, policy, lab, problem] = blocks(HTTP_API, "json")[..] else { panic!("the document shows four") };
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let expected = ["DoneJob", "OnlineLab", "NoSuchJob"].map(example);
    assert_eq!([job, lab, problem].map(parsed), expected);
    let resources = parsed(policy)["Statement"][0]["Resource"].clone();
    let paths = resources.as_array().unwrap().iter().map(|arn| arn.as_str().unwrap().split_once("/prod/").unwrap().1);
    let is_allowed = |route: Route| {
        let path = format!("{}{}", route.method(), route.template().replace("{api}", "soc"));
        paths.clone().any(|allowed| match allowed.split_once('*') {
            Some((start, end)) => path.starts_with(start) && path.ends_with(end),
            None => path == allowed,
        })
    };
    let refused: Vec<_> = Route::ALL.into_iter().filter(|route| !is_allowed(*route)).collect();
    assert_eq!(refused, []);

    // The policy that is deployed, as it stands in its template.
    let template = include_str!("../infra/client-policy.yaml").replace("${Api}", "soc");
    let deployed = template.split("${ApiArn}/").skip(1).filter_map(|rest| rest.split_whitespace().next());
    assert_eq!(paths.clone().collect::<BTreeSet<_>>(), deployed.collect());
}
