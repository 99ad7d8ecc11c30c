use std::net::SocketAddr;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::AgentError;
use crate::page::{refuse_origin, refuse_page};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers `GET /metrics` and `GET /health` at this address until `stop`, beside whatever else the agent does. Fails only
/// if it cannot listen there.
pub(crate) async fn serve(
    address: SocketAddr,
    metrics: Metrics,
    now: impl Fn() -> DateTime<Utc> + Clone + Send + Sync + 'static,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    let refused = |source| AgentError::Metrics { address, source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    tracing::info!(address = %listener.local_addr().map_err(refused)?, "serving metrics");

    // On a network the lab's server has names, which Prometheus may call it by and we do not know.
    let ip = address.ip();
    let refuse = move |headers: &HeaderMap| {
        if ip.is_loopback() { refuse_page(headers, ip) } else { refuse_origin(headers) }
    };

    let of_health = metrics.clone();
    let render = move |headers: HeaderMap| async move {
        refuse(&headers).map_err(|reason| (StatusCode::FORBIDDEN, reason))?;
        Ok::<_, (StatusCode, &str)>(([(CONTENT_TYPE, OPEN_METRICS)], metrics.render(now())))
    };
    let health = move |headers: HeaderMap| async move {
        refuse(&headers).map_err(|reason| (StatusCode::FORBIDDEN, reason))?;
        let (is_healthy, words) = of_health.health();
        let status = if is_healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Ok::<_, (StatusCode, &str)>((status, format!("{words}\n")))
    };

    let app = Router::new().route("/metrics", get(render)).route("/health", get(health));
    tokio::spawn(async move { axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await });
    Ok(())
}
