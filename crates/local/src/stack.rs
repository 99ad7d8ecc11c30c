use std::env;
use std::fs::{self, File, TryLockError};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bcrlapi::{Client, Signer};
use bcrlapi_cloud::{JobStore, LocalEndpoints};
use bcrlapi_common::Deployment;
use bcrlapi_domain::{ApiName, OwnerScope};
use bcrlapi_submit::{CallRate, QueueLimit};
use tokio_util::sync::CancellationToken;

mod dynamodb;
mod event;
mod gateway;
mod principals;
mod signature;
mod stores;

pub use principals::Principal;
pub use signature::{Authorizer, Unauthorized};
use stores::Stores;

/// Free ports on loopback.
pub const FREE_PORTS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// The region that everything here pretends to be in.
pub const REGION: &str = "ap-northeast-1";
/// The folder that stands for the lab's shared directory.
const SHARED: &str = "shared";
/// The name of the table, and of the bucket.
const NAME: &str = "bcrlapi";

/// What a deployment may choose.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The apis that are offered; every name where there is none.
    pub apis: Vec<ApiName>,
    /// Whose jobs a caller shares.
    pub owner_scope: OwnerScope,
    /// How many jobs may be open; any number where there is none.
    pub queue_limit: Option<usize>,
}

/// The cloud's half: the API and its two stores, at one address, with their data in one directory.
#[derive(Debug)]
pub struct Stack {
    directory: PathBuf,
    address: IpAddr,
    api_url: String,
    endpoints: LocalEndpoints,
    principals: Vec<Principal>,
    store: JobStore,
    stop: CancellationToken,
    /// Holds the directory for this process; dropped last.
    _lock: File,
}

impl Stack {
    /// Starts with the data that the directory holds, or with none. Listens at this address, on its port and the two after
    /// it; with port 0, on free ones.
    pub async fn start(directory: &Path, address: SocketAddr, settings: &Settings) -> anyhow::Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let directory = directory.canonicalize()?;
        let lock = lock(&directory)?;
        let principals = principals::load_or_create(&directory.join("principals.json"))?;
        let [gateway, dynamodb, s3] = listen(address)?;
        let endpoints = LocalEndpoints {
            dynamodb_url: url(&dynamodb)?,
            s3_url: url(&s3)?,
            region: REGION.to_owned(),
            access_key_id: principals[0].access_key_id.clone(),
            secret_access_key: principals[0].secret_access_key.clone(),
        };
        let stop = CancellationToken::new();
        fs::create_dir_all(directory.join(SHARED))?;
        Stores::open(&directory, principals[0].clone())?.serve(dynamodb, s3, stop.clone());
        let store = JobStore::at_endpoints(&endpoints, NAME, NAME).await;
        store.provision().await?;
        let api_url = url(&gateway)?;
        let state = bcrlapi_submit::State {
            deployment: Deployment { store: store.clone(), owner_scope: settings.owner_scope },
            apis: settings.apis.iter().cloned().collect(),
            queue_limit: settings.queue_limit.map(|limit| QueueLimit::new(limit, CallRate::DEFAULT)),
        };
        gateway::serve(gateway, state, principals.clone(), stop.clone())?;
        Ok(Self { directory, address: address.ip(), api_url, endpoints, principals, store, stop, _lock: lock })
    }

    /// The API's URL.
    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    /// Where the stack keeps its data.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory that stands for the lab's shared one.
    pub fn shared(&self) -> PathBuf {
        self.directory.join(SHARED)
    }

    /// The jobs in the cloud, as agent and functions see them.
    pub fn store(&self) -> &JobStore {
        &self.store
    }

    /// The same store with connections of its own, for another runtime.
    pub async fn connect(&self) -> JobStore {
        JobStore::at_endpoints(&self.endpoints, NAME, NAME).await
    }

    /// Everybody who has keys here. The first one's keys open the two stores as well.
    pub fn principals(&self) -> &[Principal] {
        &self.principals
    }

    /// A client that signs as this principal.
    pub fn client(&self, principal: &Principal) -> anyhow::Result<Client> {
        Ok(Client::new(&self.api_url, Signer::new(principal.credentials(), REGION))?)
    }

    /// The environment in which AWS SDKs, the agent and the client command use this stack.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let keys = &self.principals[0];
        // No proxy leads to this computer.
        let no_proxy = [env::var("NO_PROXY").unwrap_or_default(), self.address.to_string()];
        vec![
            ("NO_PROXY", no_proxy.join(",").trim_start_matches(',').to_owned()),
            ("BCRLAPI_URL", self.api_url.clone()),
            ("AWS_ACCESS_KEY_ID", keys.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", keys.secret_access_key.clone()),
            ("AWS_REGION", REGION.to_owned()),
            // By this name the AWS CLI looks for it.
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_ENDPOINT_URL_S3", self.endpoints.s3_url.clone()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.endpoints.dynamodb_url.clone()),
            ("BCRLAPI_TABLE", NAME.to_owned()),
            ("BCRLAPI_BUCKET", NAME.to_owned()),
            ("BCRLAPI_SHARED", self.shared().display().to_string()),
        ]
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Two stacks on one directory would damage each other's data.
fn lock(directory: &Path) -> anyhow::Result<File> {
    let file = File::create(directory.join(".lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("{} is in use by another bcrlapi-local", directory.display()),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn listen(first: SocketAddr) -> anyhow::Result<[TcpListener; 3]> {
    let bind = |offset: u16| -> anyhow::Result<TcpListener> {
        let port = if first.port() == 0 {
            0
        } else {
            first.port().checked_add(offset).context("--port can be at most 65533: three ports are used")?
        };
        let address = SocketAddr::new(first.ip(), port);
        let listener = TcpListener::bind(address);
        let listener =
            listener.with_context(|| format!("cannot listen at {address}; choose another --port or --listen"))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    Ok([bind(0)?, bind(1)?, bind(2)?])
}

fn url(listener: &TcpListener) -> anyhow::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}
