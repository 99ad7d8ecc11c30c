use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use bcrlapi_settings::aws::{CA_BUNDLE, CaBundle, sdk_client};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::ClientError;
use crate::error::{chain, root_cause};
use crate::profile::{ChosenProfile, set};

/// How long credentials are used before their source is asked again.
const CREDENTIALS_AGE_MAX: Duration = Duration::from_mins(5);
/// How long their source may take: a person may have to type a code into it.
const PROVIDER_LIMIT: Duration = Duration::from_mins(2);
/// How long before their expiry they are used no more.
const BEFORE_EXPIRY: Duration = Duration::from_mins(1);

/// Signs requests for API Gateway with SigV4 (service `execute-api`).
#[derive(Clone, Debug)]
pub struct Signer {
    provider: SharedCredentialsProvider,
    /// What the provider has last given. To ask it may run a program, or call another service.
    last: Arc<Mutex<Option<Found>>>,
    region: String,
    /// The command that makes expired credentials good again.
    renewal: Option<String>,
    ca_bundle: Option<CaBundle>,
}

/// Credentials, and when they were asked for.
#[derive(Clone, Debug)]
struct Found {
    credentials: Credentials,
    at: Instant,
}

/// What a person may choose for one call. What is not chosen is found as the AWS CLI finds it.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// The profile whose credentials sign; also before keys of the environment.
    pub profile: Option<String>,
    /// The region that is signed for.
    pub region: Option<String>,
}

impl Signer {
    /// The service that API Gateway's requests are signed for.
    pub const SERVICE: &str = "execute-api";

    /// Signs with these credentials.
    pub fn new(credentials: impl ProvideCredentials + 'static, region: impl Into<String>) -> Self {
        Self {
            provider: SharedCredentialsProvider::new(credentials),
            last: Arc::default(),
            region: region.into(),
            renewal: None,
            ca_bundle: None,
        }
    }

    /// Signs with the credentials that the AWS CLI would use, for the region of `AWS_REGION`, else that of the URL,
    /// else that of the profile.
    ///
    /// # Errors
    ///
    /// No credentials, or no region, or a profile or a file of certificates that is not there.
    pub async fn from_env(base_url: &str) -> Result<Self, ClientError> {
        Self::from_choices(base_url, &Choices::default()).await
    }

    /// As [`Signer::from_env`], where some of it is chosen.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn from_choices(base_url: &str, choices: &Choices) -> Result<Self, ClientError> {
        if choices.profile.is_none() && set("AWS_ACCESS_KEY_ID").is_some() && set("AWS_SECRET_ACCESS_KEY").is_none() {
            return Err(ClientError::unsigned("AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not"));
        }
        let profile = ChosenProfile::read(choices.profile.as_deref()).await?;
        let ca_bundle = CaBundle::read(profile.get(CA_BUNDLE)).map_err(|error| ClientError::Unsigned {
            reason: chain(&error),
            next: Some("set AWS_CA_BUNDLE, or ca_bundle in ~/.aws/config, to a PEM file".to_owned()),
        })?;
        let region = region(base_url, choices, &profile).ok_or_else(|| ClientError::Unsigned {
            reason: "the URL names no region, and none is set".to_owned(),
            next: Some("set AWS_REGION to the API's region, or pass --region".to_owned()),
        })?;
        check_region(&region)?;

        let provider = match &choices.profile {
            Some(name) => of_profile(name, &region, ca_bundle.as_ref()),
            None => of_chain(&region, ca_bundle.as_ref()).await?,
        };
        Ok(Self { provider, last: Arc::default(), region, renewal: profile.renewal(), ca_bundle })
    }

    /// The region in the URL of an API, or of its endpoint in a VPC; a custom domain names none.
    ///
    /// ```
    /// use bcrlapi::Signer;
    ///
    /// let region = Signer::region_of("https://a1b2.execute-api.ap-northeast-1.amazonaws.com/prod");
    /// assert_eq!(region.as_deref(), Some("ap-northeast-1"));
    /// ```
    pub fn region_of(base_url: &str) -> Option<String> {
        let host = base_url.split_once("://")?.1.split(['/', ':']).next()?.to_ascii_lowercase();
        let (_, rest) = host.split_once(".execute-api.")?;
        let (region, domain) = rest.split_once('.')?;
        let domain = domain.strip_prefix("vpce.").unwrap_or(domain);
        domain.starts_with("amazonaws.com").then(|| region.to_owned())
    }

    /// Certificates to be trusted beside the system's.
    pub(crate) fn ca_bundle(&self) -> Option<&CaBundle> {
        self.ca_bundle.as_ref()
    }

    /// Adds date and signature to the request.
    ///
    /// # Errors
    ///
    /// There are no credentials now, or they cannot stand in a header.
    pub async fn sign(&self, request: &mut http::Request<Vec<u8>>) -> Result<(), ClientError> {
        let credentials = self.credentials().await?;
        check(&credentials)?;

        let identity = credentials.into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(Self::SERVICE)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(unsigned)?
            .into();
        let uri = request.uri().to_string();
        let headers = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let body = SignableBody::Bytes(request.body());
        let signable = SignableRequest::new(request.method().as_str(), uri, headers, body).map_err(unsigned)?;
        let (instructions, _) = sign(signable, &params).map_err(unsigned)?.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }

    /// The credentials; asked for again from time to time, since a file may have new ones, and before they expire.
    async fn credentials(&self) -> Result<Credentials, ClientError> {
        let mut last = self.last.lock().await;
        if let Some(found) = last.as_ref().filter(|found| found.is_fresh()) {
            return Ok(found.credentials.clone());
        }

        let provided = timeout(PROVIDER_LIMIT, self.provider.provide_credentials()).await.map_err(|_| {
            let s = PROVIDER_LIMIT.as_secs();
            ClientError::unsigned(format!("no credentials within {s} s; look at the profile's credential_process"))
        })?;
        let credentials = provided.map_err(|error| self.no_credentials(&error))?;
        *last = Some(Found { credentials: credentials.clone(), at: Instant::now() });
        Ok(credentials)
    }

    fn no_credentials(&self, error: &dyn std::error::Error) -> ClientError {
        tracing::debug!(error = chain(error), "no credentials");
        match &self.renewal {
            Some(renewal) => ClientError::Unsigned {
                reason: format!("no AWS credentials; the login may have expired ({})", root_cause(error)),
                next: Some(renewal.clone()),
            },
            None => ClientError::Unsigned {
                reason: "no AWS credentials found (--debug says where they were looked for)".to_owned(),
                next: Some(
                    "for bcrlapi-local run `. .bcrlapi/env`; else choose a profile with --profile, or run `aws configure` or \
                     `aws sso login`"
                        .to_owned(),
                ),
            },
        }
    }
}

impl Found {
    fn is_fresh(&self) -> bool {
        let expires_soon = self.credentials.expiry().is_some_and(|expiry| expiry < SystemTime::now() + BEFORE_EXPIRY);
        self.at.elapsed() < CREDENTIALS_AGE_MAX && !expires_soon
    }
}

fn region(base_url: &str, choices: &Choices, profile: &ChosenProfile) -> Option<String> {
    choices
        .region
        .clone()
        .or_else(|| set("AWS_REGION"))
        .or_else(|| set("AWS_DEFAULT_REGION"))
        .or_else(|| Signer::region_of(base_url))
        .or_else(|| profile.get("region").map(str::to_owned))
}

/// The credentials of this profile, whatever keys the environment has.
fn of_profile(name: &str, region: &str, ca_bundle: Option<&CaBundle>) -> SharedCredentialsProvider {
    let config = ProviderConfig::without_region()
        .with_region(Some(Region::new(region.to_owned())))
        .with_http_client(sdk_client(ca_bundle));
    let provider = ProfileFileCredentialsProvider::builder().configure(&config).profile_name(name).build();
    SharedCredentialsProvider::new(provider)
}

/// The credentials that every AWS SDK would find.
async fn of_chain(region: &str, ca_bundle: Option<&CaBundle>) -> Result<SharedCredentialsProvider, ClientError> {
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .http_client(sdk_client(ca_bundle));
    let config = loader.load().await;
    config.credentials_provider().ok_or_else(|| ClientError::unsigned("no source of AWS credentials is known"))
}

/// What no region is called is named here; the signing would panic on some of it.
fn check_region(region: &str) -> Result<(), ClientError> {
    let is_plain = region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if is_plain {
        return Ok(());
    }
    Err(ClientError::Unsigned {
        reason: format!("{region:?} is not the name of a region"),
        next: Some("look at --region, AWS_REGION and the profile's region in ~/.aws/config".to_owned()),
    })
}

/// What cannot stand in a header is named here; the signing itself would panic on it.
fn check(credentials: &Credentials) -> Result<(), ClientError> {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    for (name, value) in
        [("access key id", Some(credentials.access_key_id())), ("session token", credentials.session_token())]
    {
        if value.is_some_and(|value| !is_plain(value)) {
            return Err(ClientError::unsigned(format!(
                "the {name} of the AWS credentials contains characters that cannot stand in a header"
            )));
        }
    }
    Ok(())
}

fn unsigned(error: impl std::error::Error) -> ClientError {
    ClientError::unsigned(chain(&error))
}

#[cfg(test)]
mod tests {
    use super::Signer;

    #[test]
    fn the_region_is_read_from_the_url() {
        let region = Signer::region_of;
        assert_eq!(region("https://a1b2.execute-api.ap-northeast-1.amazonaws.com/prod").unwrap(), "ap-northeast-1");
        assert_eq!(region("https://a1b2.execute-api.cn-north-1.amazonaws.com.cn/prod").unwrap(), "cn-north-1");
        assert_eq!(region("HTTPS://A1B2.Execute-API.EU-West-1.AmazonAWS.com:443/prod").unwrap(), "eu-west-1");
        assert_eq!(region("https://vpce-0a1-b2.execute-api.us-east-1.vpce.amazonaws.com/prod").unwrap(), "us-east-1");
        assert_eq!(region("https://a1b2-vpce-0a1.execute-api.us-east-1.amazonaws.com/prod").unwrap(), "us-east-1");
        assert_eq!(region("http://127.0.0.1:9000"), None);
        assert_eq!(region("https://api.lab.example/v1"), None);
        assert_eq!(region("https://a1b2.execute-api.example.org/prod"), None);
    }
}
