//! Who the gateway lets in: what AWS publishes and what other clients sign, and nothing that was tampered with.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use bcrlapi_local::{Authorizer, Principal};
use chrono::NaiveDateTime;
use http::HeaderValue;
use http::request::Parts;
use serde::Deserialize;
use serde_json::Value;

/// Requests with their signatures, and where they come from.
#[derive(Deserialize)]
struct Vectors {
    aws: Group,
    botocore: Group,
    curl: Group,
}

#[derive(Deserialize)]
struct Group {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    /// Why a gateway has to refuse it.
    left_out: Option<String>,
}

static VECTORS: LazyLock<Vectors> =
    LazyLock::new(|| serde_json::from_str(include_str!("signature.json")).expect("the vectors are of this form"));

impl Vector {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Who the signature is of, with the secret that the publisher names.
    fn principal(&self, access_key_id: &str) -> Principal {
        let published = [
            ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            ("ANOTREAL", "notrealrnrELgWzOk3IfjzDKtFBhDby"),
        ];
        let (_, secret) = published.into_iter().find(|(id, _)| *id == access_key_id).unwrap();
        Principal {
            name: "somebody".to_owned(),
            account_id: "123456789012".to_owned(),
            caller: "AIDAEXAMPLE".to_owned(),
            user_arn: "arn:aws:iam::123456789012:user/somebody".to_owned(),
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret.to_owned(),
            session_token: self.header("x-amz-security-token").map(str::to_owned),
        }
    }

    /// The request as a gateway sees it, if one can.
    fn request(&self) -> Option<Parts> {
        let request = http::Request::builder().method(self.method.as_str()).uri(&self.target);
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        Some(request.body(()).ok()?.into_parts().0)
    }

    /// What the gateway's verifier says in the vector's own time, region and service.
    fn judge(&self, request: &Parts) -> Result<(), &'static str> {
        let scope = self.header("authorization").and_then(|header| header.split(['=', ',']).nth(1)).unwrap();
        let [key, _, region, service, _] = scope.split('/').collect::<Vec<_>>()[..] else { panic!("{scope}") };
        let now = NaiveDateTime::parse_from_str(self.header("x-amz-date").unwrap(), "%Y%m%dT%H%M%SZ").unwrap();
        let authorizer = Authorizer { principals: &[self.principal(key)], region, service };
        authorizer.authorize(request, self.body.as_bytes(), now.and_utc()).map(drop)
    }

    /// Accepted as it is, and refused with any other digit in its signature.
    fn assert_accepted(&self) {
        let mut request = self.request().unwrap();
        assert_eq!(self.judge(&request), Ok(()), "{}", self.name);
        let authorization = self.header("authorization").unwrap();
        for position in authorization.len() - 64..authorization.len() {
            let mut changed = authorization.as_bytes().to_vec();
            changed[position] = if changed[position] == b'0' { b'1' } else { b'0' };
            request.headers.insert("authorization", HeaderValue::from_bytes(&changed).unwrap());
            assert!(self.judge(&request).is_err(), "{} with digit {position} changed", self.name);
        }
    }
}

/// Accepts all vectors but those that are marked, and refuses those.
fn assert_group(group: &Group) {
    for vector in &group.vectors {
        match (&vector.left_out, vector.request()) {
            (None, _) => vector.assert_accepted(),
            (Some(reason), Some(request)) => assert!(vector.judge(&request).is_err(), "{}: {reason}", vector.name),
            (Some(_), None) => {}
        }
    }
}

/// The folder of a package that we are built from.
fn package_of(name: &str) -> PathBuf {
    let output = |command: &mut Command| command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap().stdout;
    let version = String::from_utf8(output(Command::new("rustc").arg("-vV"))).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = ["metadata", "--format-version", "1", "--filter-platform", host];
    let metadata: Value = serde_json::from_slice(&output(Command::new(env!("CARGO")).args(metadata))).unwrap();
    let package = metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == name).unwrap();
    Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
}

#[test]
fn the_signatures_that_aws_publishes_are_accepted() {
    assert_group(&VECTORS.aws);
}

/// The vectors are those that lie in the package of our signer, all of them, each with the header that stands there.
#[test]
fn no_published_vector_is_missing() {
    let folder = package_of("aws-sigv4").join("aws-signing-test-suite/v4");
    let published: BTreeSet<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let ours: BTreeSet<_> = VECTORS.aws.vectors.iter().map(|vector| vector.name.clone()).collect();
    assert_eq!(ours, published);
    for vector in &VECTORS.aws.vectors {
        let signed = fs::read_to_string(folder.join(&vector.name).join("header-signed-request.txt")).unwrap();
        assert!(signed.starts_with(&format!("{} {}", vector.method, vector.target)), "{signed}");
        assert!(signed.contains(vector.header("authorization").unwrap()), "{signed}");
    }
}

#[test]
fn what_botocore_signs_is_accepted() {
    assert_group(&VECTORS.botocore);
}

#[test]
fn what_curl_signs_is_accepted() {
    assert_group(&VECTORS.curl);
}
