use std::time::SystemTime;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;

use crate::ClientError;
use crate::error::chain;

/// Signs requests for API Gateway with SigV4 (service `execute-api`).
#[derive(Clone, Debug)]
pub struct Signer {
    credentials: SharedCredentialsProvider,
    region: String,
}

impl Signer {
    /// The service that API Gateway's requests are signed for.
    pub const SERVICE: &str = "execute-api";

    /// Signs with these credentials.
    pub fn new(credentials: impl ProvideCredentials + 'static, region: impl Into<String>) -> Self {
        Self { credentials: SharedCredentialsProvider::new(credentials), region: region.into() }
    }

    /// Signs with the credentials that every AWS SDK would find. The region is that of the URL where it has one.
    pub async fn from_env(base_url: &str) -> Result<Self, ClientError> {
        let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
        let missing = |what: &str| ClientError::Unsigned(what.to_owned());
        let configured = || config.region().map(Region::to_string).filter(|region| !region.is_empty());
        let region = Self::region_of(base_url).or_else(configured);
        let credentials = config.credentials_provider();
        Ok(Self {
            credentials: credentials.ok_or_else(|| missing("no credentials found; set them as for the AWS CLI"))?,
            region: region.ok_or_else(|| missing("the URL names no region; set AWS_REGION to the API's"))?,
        })
    }

    /// The region in `https://{id}.execute-api.{region}.amazonaws.com/{stage}`; a custom domain names none.
    pub fn region_of(base_url: &str) -> Option<String> {
        let host = base_url.split_once("://")?.1.split('/').next()?;
        let (_, rest) = host.split_once(".execute-api.")?;
        Some(rest.split_once(".amazonaws.com")?.0.to_owned())
    }

    /// Adds date and signature to the request.
    pub async fn sign(&self, request: &mut http::Request<Vec<u8>>) -> Result<(), ClientError> {
        let credentials = self.credentials.provide_credentials().await.map_err(|error| {
            let how = "for bcrlapi-local run `. .bcrlapi/env`, otherwise set them as for the AWS CLI";
            ClientError::Unsigned(format!("no AWS credentials; {how} ({})", chain(&error)))
        })?;
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
}

fn unsigned(error: impl std::error::Error) -> ClientError {
    ClientError::Unsigned(chain(&error))
}

#[cfg(test)]
mod tests {
    use super::Signer;

    #[test]
    fn the_region_is_read_from_the_url() {
        let region = Signer::region_of;
        assert_eq!(region("https://a1b2.execute-api.ap-northeast-1.amazonaws.com/prod").unwrap(), "ap-northeast-1");
        assert_eq!(region("https://a1b2.execute-api.cn-north-1.amazonaws.com.cn/prod").unwrap(), "cn-north-1");
        assert_eq!(region("http://127.0.0.1:9000"), None);
        assert_eq!(region("https://api.lab.example/v1"), None);
    }
}
