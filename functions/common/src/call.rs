use std::collections::BTreeSet;

use bcrlapi_api::{Problem, ProblemKind, Route};
use bcrlapi_cloud::{JobStore, StoreError};
use bcrlapi_domain::{Job, JobId, Owner, OwnerScope};
use chrono::{DateTime, Utc};
use http::header::HOST;
use http::{HeaderMap, HeaderName};
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
    template: String,
    request: Request,
}

impl Call {
    /// Reads the request; fails closed where API Gateway names no caller. Refuses query parameters that the route does
    /// not know, and those that come twice.
    pub fn from_request(request: Request, scope: OwnerScope) -> Result<Self, Problem> {
        let nobody = || Problem::new(ProblemKind::Forbidden, "the request carries no identity; sign it with SigV4");
        let Some(RequestContext::ApiGatewayV1(context)) = request.request_context_ref() else { return Err(nobody()) };
        let identity = &context.identity;
        let owner = scope
            .owner(identity.account_id.as_deref().unwrap_or_default(), identity.caller.as_deref().unwrap_or_default());
        let template = context.resource_path.clone().unwrap_or_default();
        let call = Self {
            route: Route::find(request.method(), &template),
            owner: owner.ok_or_else(nobody)?,
            base_url: base_url(request.headers(), context),
            template,
            request,
        };
        call.check_parameters()?;
        Ok(call)
    }

    /// The request's headers.
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// A header that may be missing, and must not come twice.
    pub fn header(&self, name: &HeaderName) -> Result<Option<&str>, Problem> {
        let invalid = |what| Problem::new(ProblemKind::InvalidHeader, format!("the header {name} {what}"));
        let mut values = self.headers().get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(Some).map_err(|_| invalid("is not readable text")),
            (Some(_), Some(_)) => Err(invalid("comes twice; send it once")),
        }
    }

    /// A query parameter of the route.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.request.query_string_parameters_ref()?.first(name)
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

    /// The answer to a method or a path that is none of the API's.
    pub fn no_such_route(&self) -> Problem {
        let path = self.request.raw_http_path();
        let allow = Route::methods(&self.template);
        if allow.is_empty() {
            return Problem::new(ProblemKind::NoSuchPath, format!("the API has no path {path}"));
        }
        let detail = format!("{} is not a method of {path}", self.request.method());
        Problem { allow, ..Problem::new(ProblemKind::MethodNotAllowed, detail) }
    }

    fn check_parameters(&self) -> Result<(), Problem> {
        let (Some(route), Some(query)) = (self.route, self.request.query_string_parameters_ref()) else {
            return Ok(());
        };
        let known = route.parameters();
        let invalid = |detail| Err(Problem::new(ProblemKind::InvalidParameter, detail));
        let mut seen = BTreeSet::new();
        for (name, _) in query.iter() {
            if !known.contains(&name) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return invalid(format!("{name:?} is not a parameter of this path; it has {known}"));
            }
            if !seen.insert(name) {
                return invalid(format!("the parameter {name:?} comes twice; send it once"));
            }
        }
        Ok(())
    }
}

/// What a caller is told when a store fails: whether trying again may help, and nothing else.
pub fn store_problem(error: StoreError) -> Problem {
    match error {
        StoreError::Unavailable { .. } => Problem::unavailable(error),
        StoreError::Damaged { .. } | StoreError::DamagedKey { .. } => Problem::internal(error),
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
