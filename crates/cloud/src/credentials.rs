//! Where a lab's server has its credentials from.

use std::env;
use std::fs::File;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature as Feature;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use bcrlapi_settings::aws::{CaBundle, ca_bundle_of_profile, sdk_client};
use chrono::{DateTime, Utc};

use crate::{RefusalKind, StoreError};

/// The SDK's own chain of sources, gone through afresh each time. By itself it would read the shared credentials file once
/// and for all, and Systems Manager keeps writing new keys into that file. The clients ask every 15 minutes, and before
/// what they were given expires.
#[derive(Clone, Debug, Default)]
pub(crate) struct LabCredentials {
    /// Trusted on the way to credentials too.
    pub(crate) ca_bundle: Option<CaBundle>,
}

impl LabCredentials {
    async fn look(&self) -> provider::Result {
        let client = sdk_client(self.ca_bundle.as_ref());
        let config = ProviderConfig::with_default_region().await.with_http_client(client);
        let found = DefaultCredentialsChain::builder().configure(config).build().await.provide_credentials().await;
        match found {
            Err(CredentialsError::CredentialsNotLoaded(_)) => Err(CredentialsError::provider_error(what_is_missing())),
            found => found,
        }
    }
}

impl ProvideCredentials for LabCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.look())
    }
}

/// Credentials that were found, without what is secret about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundCredentials {
    /// Which keys.
    pub access_key_id: String,
    /// Where they come from, for people.
    pub source: &'static str,
    /// When they expire; `None` where they do not say.
    pub expiry_date: Option<DateTime<Utc>>,
}

impl FoundCredentials {
    /// The credentials that an agent would have now.
    pub async fn find() -> Result<Self, StoreError> {
        let ca_bundle = ca_bundle().await?;
        let found = LabCredentials { ca_bundle }.provide_credentials().await;
        found.map(|found| Self::from(&found)).map_err(StoreError::because("find credentials", RefusalKind::Credentials))
    }
}

impl From<&Credentials> for FoundCredentials {
    fn from(credentials: &Credentials) -> Self {
        let features = credentials.get_property::<Vec<Feature>>().map(Vec::as_slice).unwrap_or_default();
        Self {
            access_key_id: credentials.access_key_id().to_owned(),
            source: source(features),
            expiry_date: credentials.expiry().map(DateTime::from),
        }
    }
}

/// Where there should be keys and are none. The SDK's own words list all the sources that it knows, one a line.
fn what_is_missing() -> String {
    for variable in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
        let Some(path) = env::var_os(variable).filter(|path| !path.is_empty()) else { continue };
        if let Err(error) = File::open(&path) {
            return format!("{variable} names {}, which cannot be read: {error}", path.display());
        }
    }
    "there are none in the environment, nor in the files of the AWS CLI".to_owned()
}

/// The certificates that the AWS CLI would trust beside the system's.
pub(crate) async fn ca_bundle() -> Result<Option<CaBundle>, StoreError> {
    let of_profile = ca_bundle_of_profile().await;
    CaBundle::read(of_profile.as_deref()).map_err(StoreError::because("trust", RefusalKind::Credentials))
}

/// What the SDK notes of the way to the credentials; of a process it also notes that a profile named it.
fn source(features: &[Feature]) -> &'static str {
    let has = |feature| features.contains(&feature);
    if has(Feature::CredentialsProcess) || has(Feature::CredentialsProfileProcess) {
        "credential_process"
    } else if has(Feature::CredentialsEnvVars) {
        "the environment"
    } else if has(Feature::CredentialsProfile) {
        "the shared credentials file"
    } else if has(Feature::CredentialsHttp) {
        "the container's endpoint"
    } else if has(Feature::CredentialsImds) {
        "the instance's metadata"
    } else {
        "a source of another kind"
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::process::Command;

    use super::*;

    const FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";

    fn profile(key: &str) -> String {
        format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = s\naws_session_token = t\n")
    }

    fn found() -> FoundCredentials {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(FoundCredentials::find()).unwrap()
    }

    /// Runs a test of this module in a process whose environment names this file.
    fn run_with(file: &std::path::Path, variable: &str, test: &str) {
        let mut run = Command::new(env::current_exe().unwrap());
        run.args(["--exact", "--ignored", &format!("credentials::tests::{test}")]).env_clear();
        run.env("HOME", "/nowhere").env("AWS_REGION", "ap-northeast-1").env("PATH", env::var("PATH").unwrap());
        run.env("AWS_EC2_METADATA_DISABLED", "true");
        let output = run.env(variable, file).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    }

    #[test]
    fn keys_that_were_replaced_in_their_file_are_found() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(profile("OLD").as_bytes()).unwrap();
        run_with(file.path(), FILE, "replaced");
    }

    #[test]
    #[ignore = "run by keys_that_were_replaced_in_their_file_are_found, in an environment of its own"]
    fn replaced() {
        let keys = || (found().access_key_id, found().source);
        assert_eq!(keys(), ("OLD".to_owned(), "the shared credentials file"));
        fs::write(env::var(FILE).unwrap(), profile("NEW")).unwrap();
        assert_eq!(keys(), ("NEW".to_owned(), "the shared credentials file"));
    }

    #[test]
    fn a_file_that_is_missing_is_named_in_one_line() {
        run_with("/nowhere/credentials".as_ref(), FILE, "missing");
        run_with("".as_ref(), FILE, "nowhere");
    }

    fn error() -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(FoundCredentials::find()).unwrap_err().to_string()
    }

    #[test]
    #[ignore = "run by a_file_that_is_missing_is_named_in_one_line, in an environment of its own"]
    fn missing() {
        let error = error();
        assert!(error.contains("names /nowhere/credentials, which cannot be read: No such file"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }

    #[test]
    #[ignore = "run by a_file_that_is_missing_is_named_in_one_line, in an environment of its own"]
    fn nowhere() {
        let error = error();
        assert!(error.contains("there are none in the environment"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }

    #[cfg(feature = "credentials-process")]
    #[test]
    fn a_process_is_asked_for_credentials() {
        let answer = r#"{"Version":1,"AccessKeyId":"P","SecretAccessKey":"s","SessionToken":"t","Expiration":"2100-01-01T00:00:00Z"}"#;
        let mut config = tempfile::NamedTempFile::new().unwrap();
        write!(config, "[default]\ncredential_process = echo '{answer}'\n").unwrap();
        run_with(config.path(), "AWS_CONFIG_FILE", "process");
    }

    #[cfg(feature = "credentials-process")]
    #[test]
    #[ignore = "run by a_process_is_asked_for_credentials, in an environment of its own"]
    fn process() {
        let expiry_date = Some("2100-01-01T00:00:00Z".parse().unwrap());
        let expected = FoundCredentials { access_key_id: "P".to_owned(), source: "credential_process", expiry_date };
        assert_eq!(found(), expected);
    }
}
