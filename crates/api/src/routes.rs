//! The routes of the API, in API Gateway's own notation, and the paths that clients ask for.

use bcrlapi_domain::{ApiName, JobId};
use http::{HeaderName, Method};

/// How long a client should wait before it asks again for a job that is not done, in seconds.
pub const RETRY_AFTER_S: u32 = 5;

/// How long a client should wait before it submits again to a queue that was full, in seconds: jobs take minutes.
pub(crate) const RETRY_AFTER_QUEUE_FULL_S: u32 = 60;

/// The header with the caller's own name for a submit.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// `true` where the answer is about an earlier submit with the same key.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Submit a job.
    Submit,
    /// Take a job back.
    Cancel,
    /// List one's jobs.
    List,
    /// Ask for a job.
    Status,
    /// Ask how the lab is.
    Lab,
    /// Fetch the API's description.
    OpenApi,
    /// Fetch a job's result.
    Result,
    /// Get a link to a job's result.
    ResultLink,
}

/// The function that serves a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// The only one that writes.
    Submit,
    /// Only reads the table.
    Status,
    /// Reads the table and the responses.
    Result,
}

impl Route {
    /// All routes.
    pub const ALL: [Self; 8] = [
        Self::Submit,
        Self::Cancel,
        Self::List,
        Self::Status,
        Self::Lab,
        Self::OpenApi,
        Self::Result,
        Self::ResultLink,
    ];

    /// The route of this method and path template.
    pub fn find(method: &Method, template: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|route| route.method() == *method && route.template() == template)
    }

    /// The methods that a path has, for `Allow`; none where there is no such path. `HEAD` and `OPTIONS` are not among
    /// them: they would need a permission of their own, and say nothing that `GET` and `Allow` do not.
    pub fn methods(template: &str) -> Vec<Method> {
        Self::ALL.into_iter().filter(|route| route.template() == template).map(Self::method).collect()
    }

    /// The function that serves the route.
    pub fn function(self) -> Function {
        match self {
            Self::Submit | Self::Cancel => Function::Submit,
            Self::List | Self::Status | Self::Lab | Self::OpenApi => Function::Status,
            Self::Result | Self::ResultLink => Function::Result,
        }
    }

    /// The query parameters that the route knows. Any other is refused: a misspelt filter would show what was not
    /// meant.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::List => &["api", "cursor", "limit", "status"],
            Self::Submit
            | Self::Cancel
            | Self::Status
            | Self::Lab
            | Self::OpenApi
            | Self::Result
            | Self::ResultLink => &[],
        }
    }

    /// The route's method.
    pub fn method(self) -> Method {
        match self {
            Self::Submit | Self::Cancel => Method::POST,
            Self::List | Self::Status | Self::Lab | Self::OpenApi | Self::Result | Self::ResultLink => Method::GET,
        }
    }

    /// The path below the stage, with its parameters in braces.
    pub fn template(self) -> &'static str {
        match self {
            Self::Submit => "/v1/apis/{api}/jobs",
            Self::Cancel => "/v1/jobs/{uuid}/cancel",
            Self::List => "/v1/jobs",
            Self::Status => "/v1/jobs/{uuid}",
            Self::Lab => "/v1/lab",
            Self::OpenApi => "/v1/openapi.json",
            Self::Result => "/v1/jobs/{uuid}/result",
            Self::ResultLink => "/v1/jobs/{uuid}/result/link",
        }
    }
}

/// The path to submit a job for an api.
pub fn submit(api: &ApiName) -> String {
    format!("/v1/apis/{api}/jobs")
}

/// The path of a caller's jobs.
pub const LIST: &str = "/v1/jobs";

/// The path of the lab's state.
pub const LAB: &str = "/v1/lab";

/// The path of the API's description.
pub const OPENAPI: &str = "/v1/openapi.json";

/// The path of a job.
pub fn job(id: JobId) -> String {
    format!("/v1/jobs/{id}")
}

/// The path to take a job back.
pub fn cancel(id: JobId) -> String {
    format!("/v1/jobs/{id}/cancel")
}

/// The path of a job's result.
pub fn result(id: JobId) -> String {
    format!("/v1/jobs/{id}/result")
}

/// The path of a link to a job's result.
pub fn result_link(id: JobId) -> String {
    format!("/v1/jobs/{id}/result/link")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_their_templates_filled_in() {
        let (api, id) = ("soc".parse().unwrap(), "018aef2c-7a00-7000-8000-000000000001".parse::<JobId>().unwrap());
        let fill = |route: Route| route.template().replace("{api}", "soc").replace("{uuid}", &id.to_string());
        assert_eq!(submit(&api), fill(Route::Submit));
        assert_eq!(cancel(id), fill(Route::Cancel));
        assert_eq!(job(id), fill(Route::Status));
        assert_eq!(result(id), fill(Route::Result));
        assert_eq!(result_link(id), fill(Route::ResultLink));
        let fixed = [Route::List, Route::Lab, Route::OpenApi].map(Route::template);
        assert_eq!([LIST, LAB, OPENAPI], fixed);
    }
}
