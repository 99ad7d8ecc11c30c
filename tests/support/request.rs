use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrlapi::Signer;
use bcrlapi_api::ProblemBody;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::Document;

/// A request of any form, also of forms that no good client sends.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is signed.
    pub signed: http::Request<Vec<u8>>,
    signer: Option<Signer>,
}

/// The SHA-256 of some bytes, in base64.
pub fn sha256(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(Sha256::digest(bytes))
}

/// An answer, whole.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request to a URL, signed by `signer` when it is sent, if there is one.
    pub fn new(method: Method, url: &str, body: impl Into<Vec<u8>>, signer: Option<Signer>) -> Self {
        let request = http::Request::builder().method(method).uri(url).header("content-type", "application/json");
        Self { signed: request.body(body.into()).expect("the request is well-formed"), signer }
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.signed.headers_mut().insert(name, value.parse().expect("the value is well-formed"));
        self
    }

    /// Signs and sends it.
    pub async fn send(self) -> Reply {
        self.send_tampered(|_| ()).await
    }

    /// Signs it, lets `tamper` change it, and sends it. Whatever comes back, the API's document must have it.
    pub async fn send_tampered(mut self, tamper: impl FnOnce(&mut http::Request<Vec<u8>>)) -> Reply {
        if let Some(signer) = &self.signer {
            signer.sign(&mut self.signed).await.expect("the request can be signed");
        }
        tamper(&mut self.signed);
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client can be made");
        let (method, path) = (self.signed.method().clone(), self.signed.uri().path().to_owned());
        let request = self.signed.try_into().expect("the request is well-formed");
        let response = client.execute(request).await.expect("the gateway answers");
        let (status, headers) = (response.status(), response.headers().clone());
        let reply = Reply { status, headers, body: response.bytes().await.expect("the answer is whole").into() };
        Document::get().assert_answers(&method, &path, &reply);
        reply
    }
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// A header that must be there.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no header {name} in {self:?}"));
        value.to_str().expect("the header is readable")
    }

    /// Checks that this is a problem of this status and code, in the one form that all problems have.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) -> ProblemBody {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("x-amzn-errortype"), code);
        let problem: ProblemBody = serde_json::from_slice(&self.body).expect("the body is a problem");
        assert_eq!((problem.code(), problem.status), (code, status));
        assert_eq!(problem.detail, problem.message);
        assert_eq!(problem.instance, self.header("x-amzn-requestid"));
        problem
    }
}
