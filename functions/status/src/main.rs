//! The `status` function on Lambda.

use std::io::{self, Write};

use bcrlapi_status::{Measured, handle, metrics_line};
use chrono::Utc;
use lambda_http::service_fn;

// One call at a time comes to a function: a second thread would only have to be woken for it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    lambda_http::tracing::init_default_subscriber();
    let deployment = &bcrlapi_common::Deployment::from_env().await?;
    let answer = async |request| {
        let now = Utc::now();
        let response = handle(deployment, request, now).await;
        if let Some(lab) = response.extensions().get::<Measured>() {
            // CloudWatch takes it for measurements only where nothing else is on the line.
            writeln!(io::stdout(), "{}", metrics_line(deployment.store.table(), lab, now))?;
        }
        Ok::<_, io::Error>(response)
    };
    lambda_http::run(service_fn(answer)).await
}
