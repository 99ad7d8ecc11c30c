//! Who may know whom: the table of ARCHITECTURE.md, held by the build.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Our crates that each of our crates may use.
const OURS: [(&str, &[&str]); 15] = [
    ("bcrlapi-domain", &[]),
    ("bcrlapi-settings", &[]),
    ("bcrlapi-exchange", &["bcrlapi-domain"]),
    ("bcrlapi-directory", &["bcrlapi-domain", "bcrlapi-exchange"]),
    ("bcrlapi-api", &["bcrlapi-domain"]),
    ("bcrlapi-cloud", &["bcrlapi-domain", "bcrlapi-settings"]),
    ("bcrlapi-common", &["bcrlapi-api", "bcrlapi-cloud", "bcrlapi-domain"]),
    ("bcrlapi-submit", &["bcrlapi-api", "bcrlapi-cloud", "bcrlapi-domain", "bcrlapi-common"]),
    ("bcrlapi-status", &["bcrlapi-api", "bcrlapi-cloud", "bcrlapi-domain", "bcrlapi-common"]),
    ("bcrlapi-result", &["bcrlapi-api", "bcrlapi-cloud", "bcrlapi-domain", "bcrlapi-common"]),
    (
        "bcrlapi-agent",
        &["bcrlapi-cloud", "bcrlapi-directory", "bcrlapi-domain", "bcrlapi-exchange", "bcrlapi-settings"],
    ),
    ("bcrlapi-worker", &["bcrlapi-directory", "bcrlapi-domain", "bcrlapi-exchange", "bcrlapi-settings"]),
    ("bcrlapi", &["bcrlapi-api", "bcrlapi-domain", "bcrlapi-settings"]),
    (
        "bcrlapi-local",
        &[
            "bcrlapi",
            "bcrlapi-agent",
            "bcrlapi-api",
            "bcrlapi-cloud",
            "bcrlapi-domain",
            "bcrlapi-common",
            "bcrlapi-exchange",
            "bcrlapi-result",
            "bcrlapi-settings",
            "bcrlapi-status",
            "bcrlapi-submit",
            "bcrlapi-worker",
        ],
    ),
    (
        "bcrlapi-bench",
        &["bcrlapi", "bcrlapi-cloud", "bcrlapi-directory", "bcrlapi-domain", "bcrlapi-exchange", "bcrlapi-local"],
    ),
];

/// What only these of our crates may name.
const OWNERS: [(&str, &[&str]); 6] = [
    ("aws-sdk-dynamodb", &["bcrlapi-cloud"]),
    ("aws-sdk-s3", &["bcrlapi-cloud"]),
    // Who listens: the local stack, and the agent for its metrics, where it is asked to.
    ("axum", &["bcrlapi-agent", "bcrlapi-local"]),
    ("notify", &["bcrlapi-agent"]),
    ("prometheus-client", &["bcrlapi-agent"]),
    ("reqwest", &["bcrlapi"]),
];

/// What must not be found anywhere below the pure crates.
const IMPURE: [&str; 9] =
    ["async-std", "aws-config", "getrandom", "hyper", "notify", "rand", "reqwest", "rustix", "tokio"];

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The packages of this workspace, the tests left out, and what each names among its dependencies.
fn named_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let named = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        dependencies.filter(|dependency| dependency["kind"].is_null()).map(name).collect()
    };
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.map(|package| (name(package), named(package))).filter(|(name, _)| name != "bcrlapi-tests").collect()
}

/// The names of all that a package is built from, itself included.
fn below(package: &str) -> BTreeSet<String> {
    let tree = cargo(&["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn our_crates_use_one_another_only_as_the_table_says() {
    let allowed: BTreeMap<_, BTreeSet<_>> = OURS
        .into_iter()
        .map(|(name, uses)| (name.to_owned(), uses.iter().map(|&name| name.to_owned()).collect()))
        .collect();
    let mut found = named_dependencies();
    for uses in found.values_mut() {
        uses.retain(|name| allowed.contains_key(name));
    }
    assert_eq!(found, allowed);
}

#[test]
fn what_has_owners_is_named_by_nobody_else() {
    let ours = named_dependencies();
    for (dependency, owners) in OWNERS {
        let users: Vec<_> = ours.iter().filter(|(_, uses)| uses.contains(dependency)).map(|(name, _)| name).collect();
        assert_eq!(users, owners, "{dependency}");
    }
}

#[test]
fn nothing_below_the_exchange_can_wait_touch_a_file_or_roll_dice() {
    let all = below("bcrlapi-exchange");
    assert!(all.contains("serde_json") && all.contains("bcrlapi-domain"), "the walk sees what is there");
    let impure: Vec<_> = IMPURE.into_iter().filter(|name| all.contains(*name)).collect();
    assert_eq!(impure, Vec::<&str>::new());
}

#[test]
fn nothing_of_aws_is_below_the_worker() {
    let all = below("bcrlapi-worker");
    let aws: Vec<_> = all.iter().filter(|name| name.starts_with("aws-") || *name == "tokio").collect();
    assert_eq!(aws, Vec::<&String>::new());
}
