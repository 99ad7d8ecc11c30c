use bcrlapi_api::{Problem, ProblemKind, Route};
use bcrlapi_cloud::{JobStore, StoreError};
use bcrlapi_domain::{Job, JobId, Owner};
use chrono::{DateTime, Utc};
use http::HeaderMap;
use http::header::HOST;
use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyRequestContext;
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt};

/// A request that API Gateway let through: who calls, for which route, with what.
#[derive(Debug)]
pub struct Call {
    /// The route, as API Gateway matched it.
    pub route: Option<Route>,
    /// Who is calling.
    pub owner: Owner,
    /// Scheme, host and stage as the caller sees them, without a slash at the end.
    pub base_url: String,
    request: Request,
}

impl Call {
    /// Reads the request; fails closed where API Gateway names no caller.
    pub fn from_request(request: Request) -> Result<Self, Problem> {
        let nobody = || Problem::new(ProblemKind::Forbidden, "the request carries no identity; sign it with SigV4");
        let Some(RequestContext::ApiGatewayV1(context)) = request.request_context_ref() else { return Err(nobody()) };
        let identity = &context.identity;
        let owner = Owner::from_identity(
            identity.account_id.as_deref().unwrap_or_default(),
            identity.caller.as_deref().unwrap_or_default(),
        );
        Ok(Self {
            route: Route::find(request.method(), context.resource_path.as_deref().unwrap_or_default()),
            owner: owner.ok_or_else(nobody)?,
            base_url: base_url(request.headers(), context),
            request,
        })
    }

    /// The request's headers.
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// A parameter of the path.
    pub fn path_parameter(&self, name: &str) -> String {
        self.request.path_parameters_ref().and_then(|all| all.first(name)).unwrap_or_default().to_owned()
    }

    /// The body's bytes.
    pub fn into_body(self) -> Vec<u8> {
        match self.request.into_body() {
            Body::Text(text) => text.into_bytes(),
            Body::Binary(bytes) => bytes,
            _ => Vec::new(),
        }
    }

    /// The caller's own job of the path's `{uuid}`. Another caller's job is answered like one that never was.
    pub async fn own_job(&self, store: &JobStore, now: DateTime<Utc>) -> Result<Job, Problem> {
        let uuid = self.path_parameter("uuid");
        let no_such_job = || Problem::new(ProblemKind::NoSuchJob, format!("you have no job {uuid:?}"));
        let id: JobId = uuid.parse().map_err(|_| no_such_job())?;
        if id.is_expired(now) {
            let detail = format!("job {id} expired at {}; submit it again", id.expiry_date().to_rfc3339());
            return Err(Problem::new(ProblemKind::Expired, detail));
        }
        let job = store.job(id).await.map_err(store_problem)?;
        job.filter(|job| job.owner == self.owner).ok_or_else(no_such_job)
    }

    /// The answer to a route that is not this function's.
    pub fn method_not_allowed(&self) -> Problem {
        let detail = format!("{} is not a method of {}", self.request.method(), self.request.raw_http_path());
        Problem::new(ProblemKind::MethodNotAllowed, detail)
    }
}

/// What a caller is told when a store fails: whether trying again may help, and nothing else.
pub fn store_problem(error: StoreError) -> Problem {
    match error {
        StoreError::Unavailable { .. } => Problem::unavailable(error),
        StoreError::Damaged { .. } => Problem::internal(error),
    }
}

/// The caller's path has the stage, or a custom domain's base path, in front of what the route's template describes.
fn base_url(headers: &HeaderMap, context: &ApiGatewayProxyRequestContext) -> String {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = header("x-forwarded-proto").unwrap_or("https");
    let host = header(HOST.as_str()).unwrap_or_default();
    let segments = context.resource_path.as_deref().unwrap_or_default().matches('/').count();
    let path = context.path.as_deref().unwrap_or_default();
    let prefix = path.rmatch_indices('/').nth(segments.saturating_sub(1)).map_or("", |(end, _)| &path[..end]);
    format!("{scheme}://{host}{prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_url_keeps_stage_or_base_path() {
        let base_url = |path: &str| {
            let mut context = ApiGatewayProxyRequestContext::default();
            context.resource_path = Some("/v1/jobs/{uuid}".to_owned());
            context.path = Some(path.to_owned());
            let headers = [("host", "api.example"), ("x-forwarded-proto", "https")];
            let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            super::base_url(&HeaderMap::from_iter(headers), &context)
        };
        assert_eq!(base_url("/v1/jobs/x"), "https://api.example");
        assert_eq!(base_url("/prod/v1/jobs/x"), "https://api.example/prod");
        assert_eq!(base_url("/v1/v1/jobs/x"), "https://api.example/v1");
        assert_eq!(base_url("/lab/v1/v1/jobs/x"), "https://api.example/lab/v1");
        assert_eq!(base_url(""), "https://api.example");
    }
}
