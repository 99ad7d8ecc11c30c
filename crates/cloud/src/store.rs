use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_s3::config::Credentials;
use chrono::{DateTime, Utc};

mod batches;
mod lab;
mod lists;
mod objects;
mod provision;
mod reads;
mod rows;
mod submits;
mod trials;
mod upload;
mod verified;

use bcrlapi_settings::aws::sdk_client;

use crate::StoreError;
use crate::cloud_date::CloudDate;
use crate::credentials::{LabCredentials, ca_bundle};

pub use lists::{JobFilter, JobPage};
pub use rows::LastWords;
pub use trials::Trial;
pub use upload::PART_BYTES;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one call may take, with all its tries: less than the 29 s after which API Gateway gives up on a function.
/// Uploads from the lab have a limit of their own.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// The jobs in the cloud. Cheap to clone; the clones share their connections.
#[derive(Clone, Debug)]
pub struct JobStore {
    dynamodb: aws_sdk_dynamodb::Client,
    s3: aws_sdk_s3::Client,
    table: String,
    bucket: String,
    date: CloudDate,
}

/// Where the two stores of a local stack listen, and its keys.
#[derive(Clone, Debug)]
pub struct LocalEndpoints {
    /// The URL of DynamoDB.
    pub dynamodb_url: String,
    /// The URL of S3.
    pub s3_url: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The id of the keys that both stores accept.
    pub access_key_id: String,
    /// Their secret.
    pub secret_access_key: String,
}

impl JobStore {
    /// Opens the store with region, credentials and endpoints from the environment, as every AWS SDK finds them.
    /// Nothing is sent yet.
    pub async fn from_env(table: &str, bucket: &str) -> Self {
        Self::new(&config_loader().load().await, table, bucket)
    }

    /// Opens the store as [`JobStore::from_env`], for a process that outlives its credentials: new ones are found where
    /// the old ones were. Certificates are trusted as by the AWS CLI.
    ///
    /// # Errors
    ///
    /// The file of certificates that is set cannot be used.
    pub async fn from_lab_env(table: &str, bucket: &str) -> Result<Self, StoreError> {
        let ca_bundle = ca_bundle().await?;
        let loader = config_loader().http_client(sdk_client(ca_bundle.as_ref()));
        let config = loader.credentials_provider(LabCredentials { ca_bundle }).load().await;
        Ok(Self::new(&config, table, bucket))
    }

    fn new(config: &SdkConfig, table: &str, bucket: &str) -> Self {
        Self::with(config.into(), config.into(), table, bucket)
    }

    fn with(
        dynamodb: aws_sdk_dynamodb::config::Builder,
        s3: aws_sdk_s3::config::Builder,
        table: &str,
        bucket: &str,
    ) -> Self {
        let date = CloudDate::default();
        let dynamodb = dynamodb.interceptor(date.clone()).build();
        let s3 = s3.interceptor(date.clone()).build();

        Self {
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb),
            s3: aws_sdk_s3::Client::from_conf(s3),
            table: table.to_owned(),
            bucket: bucket.to_owned(),
            date,
        }
    }

    /// What time it is in the cloud: the date of its last answer, refusals too, and the time that
    /// has gone by since, which nobody can set. `None` before its first answer. Nothing is sent.
    pub fn date(&self) -> Option<DateTime<Utc>> {
        self.date.now()
    }

    /// The region whose stores these are; `None` where none is set, and no call can succeed.
    pub fn region(&self) -> Option<&str> {
        self.dynamodb.config().region().map(Region::as_ref)
    }

    /// The table's name.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Opens the store of a local stack, whatever the environment says. Nothing is sent yet.
    pub async fn at_endpoints(endpoints: &LocalEndpoints, table: &str, bucket: &str) -> Self {
        let LocalEndpoints { dynamodb_url, s3_url, region, access_key_id, secret_access_key } = endpoints;
        let keys = Credentials::new(access_key_id, secret_access_key, None, None, "local stack");
        // Plain HTTP to this computer: no TLS to set up, and no proxy of the environment to go through.
        let http = aws_smithy_http_client::Builder::new().build_http();
        let config = config_loader().http_client(http).region(Region::new(region.clone())).credentials_provider(keys);
        let config = config.load().await;

        let dynamodb = aws_sdk_dynamodb::config::Builder::from(&config).endpoint_url(dynamodb_url);
        let s3 = aws_sdk_s3::config::Builder::from(&config).endpoint_url(s3_url).force_path_style(true);
        Self::with(dynamodb, s3, table, bucket)
    }
}

fn config_loader() -> ConfigLoader {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_timeout(CALL_TIMEOUT).build();
    aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts)
}
