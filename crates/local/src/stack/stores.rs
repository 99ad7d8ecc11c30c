use std::convert::Infallible;
use std::fs;
use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::thread;

use anyhow::anyhow;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use bcrlapi_agent::refuse_page;
use dynoxide::Database;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt, service_fn};

use super::{Principal, dynamodb};

/// The embedded DynamoDB and S3, both opened by one principal's keys alone.
pub(super) struct Stores {
    principal: Principal,
    database: Database,
    s3: S3Service,
}

impl Stores {
    pub(super) fn open(directory: &Path, principal: Principal) -> anyhow::Result<Self> {
        let database = directory.join("dynamodb.sqlite");
        let database = database.to_str().ok_or_else(|| anyhow!("the path of the directory is not UTF-8"))?;
        let objects = directory.join("s3");
        fs::create_dir_all(&objects)?;
        let files =
            FileSystem::new(&objects).map_err(|error| anyhow!("cannot open {}: {error:?}", objects.display()))?;
        let mut s3 = S3ServiceBuilder::new(files);
        s3.set_auth(SimpleAuth::from_single(&principal.access_key_id, principal.secret_access_key.as_str()));
        let database = Database::new(database)?;
        // The only call that sets how SQLite syncs: not at each write. A kill loses nothing, and for a crash of the whole
        // computer these are the wrong stores.
        database.disable_bulk_loading()?;
        Ok(Self { principal, database, s3: s3.build() })
    }

    /// Serves until `stop`, on a thread of its own: the database works on the thread that asks it.
    pub(super) fn serve(self, dynamodb: TcpListener, s3: TcpListener, stop: CancellationToken) {
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.expect("a runtime can be made");
            runtime.block_on(async {
                let served = tokio::try_join!(
                    dynamodb::serve(self.database, self.principal, dynamodb, stop.clone()),
                    serve_s3(self.s3, s3, stop.clone()),
                );
                if let Err(error) = served {
                    tracing::error!(%error, "the embedded stores have ended");
                }
            });
        });
    }
}

async fn serve_s3(s3: S3Service, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
    let address = listener.local_addr()?.ip();
    let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|socket| drop(socket.set_nodelay(true)));
    let service = service_fn(move |request: Request| {
        let s3 = s3.clone();
        async move { Ok::<Response, Infallible>(answer_s3(s3, request, address).await) }
    });
    let service = tower::make::Shared::new(service);
    Ok(axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await?)
}

/// The signature, also that of a link, is checked by S3 itself; whether a page asks is not.
async fn answer_s3(s3: S3Service, request: Request, address: IpAddr) -> Response {
    if let Err(reason) = refuse_page(request.headers(), address) {
        let xml = format!("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>{reason}</Message></Error>");
        return (StatusCode::FORBIDDEN, [(CONTENT_TYPE, "application/xml")], xml).into_response();
    }

    match s3.oneshot(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")).into_response(),
    }
}
