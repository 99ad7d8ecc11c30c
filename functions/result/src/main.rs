//! The `result` function on Lambda.

use std::convert::Infallible;

use chrono::Utc;
use lambda_http::service_fn;

// One call at a time comes to a function: a second thread would only have to be woken for it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    lambda_http::tracing::init_default_subscriber();
    let deployment = &bcrlapi_common::Deployment::from_env().await?;
    let handle = async |request| Ok::<_, Infallible>(bcrlapi_result::handle(deployment, request, Utc::now()).await);
    lambda_http::run(service_fn(handle)).await
}
