//! What the AWS CLI is told beside keys and region, and the Rust SDK does not read by itself.

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_config::profile::{self, ProfileSet};
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_types::os_shim_internal::{Env, Fs};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

const AWS_CA_BUNDLE: &str = "AWS_CA_BUNDLE";
/// The key in `~/.aws/config` under which a profile names its file of certificates.
pub const CA_BUNDLE: &str = "ca_bundle";

/// Reads the profiles of the AWS CLI, from `~/.aws/config` and `~/.aws/credentials` or what the environment names in
/// their place. The selected one is that of `AWS_PROFILE`, else `default`.
///
/// # Errors
///
/// A file is malformed, or not in UTF-8.
pub async fn profiles() -> Result<ProfileSet, BadProfiles> {
    for (variable, name) in [("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")] {
        check_text(variable, name)?;
    }
    Ok(profile::load(&Fs::real(), &Env::real(), &EnvConfigFiles::default(), None).await?)
}

/// The AWS CLI's files cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadProfiles {
    /// Windows and its editors save it so.
    #[error("{} is not plain UTF-8 ({what}): save it as UTF-8 without BOM", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// The form is wrong.
    #[error(transparent)]
    Form(#[from] profile::ProfileFileLoadError),
}

/// The SDK passes over a file that is not UTF-8 without a word.
fn check_text(variable: &str, name: &str) -> Result<(), BadProfiles> {
    let named = env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    let in_home = || env::home_dir().map(|home| home.join(".aws").join(name));
    let Some(path) = named.or_else(in_home) else { return Ok(()) };
    // Whether one is needed at all, the SDK decides.
    let Ok(bytes) = fs::read(&path) else { return Ok(()) };

    let what = match bytes.as_slice() {
        [0xEF, 0xBB, 0xBF, ..] => "it begins with a byte order mark",
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "it is UTF-16",
        bytes if std::str::from_utf8(bytes).is_err() => "it is in another encoding",
        _ => return Ok(()),
    };
    Err(BadProfiles::Encoding { path, what })
}

/// Certificates to be trusted beside the system's, such as that of a proxy that opens TLS.
#[derive(Clone)]
pub struct CaBundle {
    pem: Arc<Vec<u8>>,
}

/// The file of certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the certificates of {}", path.display())]
pub struct BadCaBundle {
    /// The file that is set.
    pub path: PathBuf,
    /// What is wrong with it.
    pub source: CaBundleFault,
}

/// What is wrong with a file of certificates.
#[derive(Debug, thiserror::Error)]
pub enum CaBundleFault {
    /// It has no certificate in PEM form.
    #[error("it contains no certificate in PEM form")]
    Empty,
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not PEM.
    #[error(transparent)]
    Pem(#[from] pem::Error),
    /// One of them is not a certificate.
    #[error(transparent)]
    Certificate(#[from] rustls::Error),
}

impl CaBundle {
    /// Reads the file that the AWS CLI and boto3 would trust: that of `AWS_CA_BUNDLE`, else that of the profile, which
    /// has it under `ca_bundle`. `None` where none is set.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has no certificates in PEM form.
    pub fn read(of_profile: Option<&str>) -> Result<Option<Self>, BadCaBundle> {
        let of_environment = env::var_os(AWS_CA_BUNDLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        match of_environment.or_else(|| of_profile.map(PathBuf::from)) {
            Some(path) => Self::read_file(path).map(Some),
            None => Ok(None),
        }
    }

    fn read_file(path: PathBuf) -> Result<Self, BadCaBundle> {
        match read_pem(&path) {
            Ok(pem) => Ok(Self { pem: Arc::new(pem) }),
            Err(source) => Err(BadCaBundle { path, source }),
        }
    }

    /// The certificates, in PEM form.
    pub fn pem(&self) -> &[u8] {
        &self.pem
    }
}

/// A client for an AWS SDK that trusts these certificates too, and goes through the proxy of `HTTPS_PROXY`: the SDK's own
/// client knows of none.
pub fn sdk_client(ca_bundle: Option<&CaBundle>) -> SharedHttpClient {
    let ca_bundle = ca_bundle.cloned();
    aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
        // Only here, where a call is made: to read the system's certificates takes longer than most calls.
        let mut store = TrustStore::default().with_native_roots(true);
        if let Some(ca_bundle) = &ca_bundle {
            store.add_pem_certificate(ca_bundle.pem());
        }
        let context = TlsContext::builder().with_trust_store(store).build().expect("the certificates were read before");

        let mut connector = Connector::builder().proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context).build()
    })
}

impl fmt::Debug for CaBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaBundle").field("pem_bytes", &self.pem.len()).finish()
    }
}

/// Parses each certificate: the SDK's client panics on one that it cannot parse.
fn read_pem(path: &Path) -> Result<Vec<u8>, CaBundleFault> {
    let pem = fs::read(path)?;

    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate?)?;
    }

    if roots.is_empty() {
        return Err(CaBundleFault::Empty);
    }
    Ok(pem)
}

/// The file that the selected profile of the AWS CLI has under `ca_bundle`; `None` where the files cannot be read, which
/// whoever needs credentials of them is told.
pub async fn ca_bundle_of_profile() -> Option<String> {
    let profiles = profiles().await.ok()?;
    profiles.get(CA_BUNDLE).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let fault = || CaBundle::read_file(path.clone()).unwrap_err().source;
        assert!(matches!(fault(), CaBundleFault::Io(_)));
        fs::write(&path, "no certificates").unwrap();
        assert!(matches!(fault(), CaBundleFault::Empty));
        fs::write(&path, "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n").unwrap();
        assert!(matches!(fault(), CaBundleFault::Pem(_)));
        fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(matches!(fault(), CaBundleFault::Certificate(_)));
    }
}
