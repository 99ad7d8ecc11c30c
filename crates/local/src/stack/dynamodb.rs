//! DynamoDB over HTTP, in front of the embedded engine. The engine's own server takes any signature and answers any page
//! of a browser; this one checks both. It knows the operations that we call, and those by which people look into a table.

use std::net::{IpAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use bcrlapi_agent::refuse_page;
use chrono::{DateTime, TimeDelta, Utc};
use dynoxide::{Database, DynoxideError};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderName, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::signature::{DATE_FORMAT, Unauthorized};
use super::{Authorizer, Principal, REGION};

const SERVICE: &str = "dynamodb";
/// The largest body that is read. Source: `DynamoDB` quotas, `BatchWriteItem`.
const BODY_MAX_BYTES: usize = 16 * 1024 * 1024;
/// How far the caller's clock may be off. Source: DynamoDB's answer "Signature expired".
const CLOCK_SKEW_MAX: TimeDelta = TimeDelta::minutes(15);
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const TARGET_PREFIX: &str = "DynamoDB_20120810.";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const JSON: &str = "application/x-amz-json-1.0";

struct Server {
    database: Database,
    /// Whose keys open it.
    principal: Principal,
    /// Where it listens.
    address: IpAddr,
}

/// Why a request has no effect: a status of HTTP, and JSON with AWS's code and words.
struct Refusal {
    status: StatusCode,
    json: String,
}

/// Serves until `stop`.
pub(super) async fn serve(
    database: Database,
    principal: Principal,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?.ip();
    let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|socket| drop(socket.set_nodelay(true)));
    let app = Router::new().fallback(answer).with_state(Arc::new(Server { database, principal, address }));
    Ok(axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await?)
}

async fn answer(State(server): State<Arc<Server>>, request: Request) -> Response {
    let answered = server.handle(request).await;
    let (status, json) = match answered {
        Ok(json) => (StatusCode::OK, json),
        Err(refusal) => (refusal.status, refusal.json),
    };

    let id = Uuid::new_v4().simple().to_string();
    (status, [(CONTENT_TYPE, JSON)], [(REQUEST_ID, id)], json).into_response()
}

impl Server {
    async fn handle(&self, request: Request) -> Result<String, Refusal> {
        let (parts, body) = request.into_parts();
        let refused = refuse_page(&parts.headers, self.address);
        refused.map_err(|reason| Refusal::forbidden("AccessDeniedException", reason))?;
        let body = to_bytes(body, BODY_MAX_BYTES).await;
        let body = body.map_err(|_| Refusal::bad("SerializationException", "the body is too large or cut off"))?;

        self.authorize(&parts, &body, Utc::now())?;

        let target = parts.headers.get(TARGET).and_then(|target| target.to_str().ok()).unwrap_or_default();
        let operation = target.strip_prefix(TARGET_PREFIX).unwrap_or_default();
        let done = run(&self.database, operation, &body);
        done.ok_or_else(|| Refusal::bad("UnknownOperationException", "there is no such operation here"))?
            .map_err(Refusal::from)
    }

    fn authorize(&self, parts: &Parts, body: &[u8], now: DateTime<Utc>) -> Result<(), Refusal> {
        let authorizer = Authorizer {
            principals: std::slice::from_ref(&self.principal),
            region: REGION,
            service: SERVICE,
            clock_skew_max: CLOCK_SKEW_MAX,
        };
        authorizer.authorize(parts, body, now)?;
        Ok(())
    }
}

impl Refusal {
    fn bad(code: &str, message: &str) -> Self {
        Self::of(StatusCode::BAD_REQUEST, code, message)
    }

    fn forbidden(code: &str, message: &str) -> Self {
        Self::of(StatusCode::FORBIDDEN, code, message)
    }

    fn of(status: StatusCode, code: &str, message: &str) -> Self {
        let json = json!({"__type": format!("com.amazon.coral.service#{code}"), "message": message});
        Self { status, json: json.to_string() }
    }
}

impl From<Unauthorized> for Refusal {
    fn from(refused: Unauthorized) -> Self {
        let code = match refused {
            Unauthorized::NotSigned => "MissingAuthenticationTokenException",
            Unauthorized::UnknownKey => "UnrecognizedClientException",
            Unauthorized::Clock { .. } | Unauthorized::Wrong(_) => "InvalidSignatureException",
        };
        let message = match refused {
            Unauthorized::Clock { date, now, max } => clock_message(date, now, max),
            _ => refused.to_string(),
        };
        Self::bad(code, &message)
    }
}

impl From<DynoxideError> for Refusal {
    fn from(error: DynoxideError) -> Self {
        let status = StatusCode::from_u16(error.status_code()).unwrap_or(StatusCode::BAD_REQUEST);
        Self { status, json: error.to_json() }
    }
}

/// As `DynamoDB` words it: only by these words the SDK can tell a wrong clock from a wrong secret.
fn clock_message(date: DateTime<Utc>, now: DateTime<Utc>, max: TimeDelta) -> String {
    let [signed, server] = [date, now].map(|date| date.format(DATE_FORMAT));
    let minutes = max.num_minutes();
    if date < now {
        let limit = (now - max).format(DATE_FORMAT);
        format!("Signature expired: {signed} is now earlier than {limit} ({server} - {minutes} min.)")
    } else {
        let limit = (now + max).format(DATE_FORMAT);
        format!("Signature not yet current: {signed} is now later than {limit} ({server} + {minutes} min.)")
    }
}

/// Runs the operation of this name; `None` if there is no such operation here.
fn run(database: &Database, operation: &str, body: &[u8]) -> Option<dynoxide::Result<String>> {
    Some(match operation {
        "BatchExecuteStatement" => call(body, |request| database.batch_execute_statement(request)),
        "BatchGetItem" => call(body, |request| database.batch_get_item(request)),
        "BatchWriteItem" => call(body, |request| database.batch_write_item(request)),
        "CreateTable" => call(body, |request| database.create_table(request)),
        "DeleteItem" => call(body, |request| database.delete_item(request)),
        "DescribeTable" => call(body, |request| database.describe_table(request)),
        "DescribeTimeToLive" => call(body, |request| database.describe_time_to_live(request)),
        "GetItem" => call(body, |request| database.get_item(request)),
        "ListTables" => call(body, |request| database.list_tables(request)),
        "PutItem" => call(body, |request| database.put_item(request)),
        "Query" => call(body, |request| database.query(request)),
        "Scan" => call(body, |request| database.scan(request)),
        "TransactGetItems" => call(body, |request| database.transact_get_items(request)),
        "TransactWriteItems" => call(body, |request| database.transact_write_items(request)),
        "UpdateItem" => call(body, |request| database.update_item(request)),
        "UpdateTable" => call(body, |request| database.update_table(request)),
        "UpdateTimeToLive" => call(body, |request| database.update_time_to_live(request)),
        _ => return None,
    })
}

fn call<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Q) -> dynoxide::Result<A>,
) -> dynoxide::Result<String> {
    let request = serde_json::from_slice(body);
    let request = request.map_err(|error| DynoxideError::SerializationException(error.to_string()))?;

    let answer = operation(request)?;

    serde_json::to_string(&answer).map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}
