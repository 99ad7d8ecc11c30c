//! The `status` function on Lambda.

use std::convert::Infallible;

use chrono::Utc;
use lambda_http::service_fn;

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    lambda_http::tracing::init_default_subscriber();
    let deployment = &bcrlapi_common::Deployment::from_env().await?;
    let handle = async |request| Ok::<_, Infallible>(bcrlapi_status::handle(deployment, request, Utc::now()).await);
    lambda_http::run(service_fn(handle)).await
}
