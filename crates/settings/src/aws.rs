//! What the AWS CLI is told beside keys and region, and the Rust SDK does not read by itself.

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_config::profile::{self, ProfileSet};
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::os_shim_internal::{Env, Fs};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

const AWS_CA_BUNDLE: &str = "AWS_CA_BUNDLE";
/// The key in `~/.aws/config`.
const CA_BUNDLE: &str = "ca_bundle";

/// Reads the profiles of the AWS CLI, from `~/.aws/config` and `~/.aws/credentials` or what the environment names in
/// their place. The selected one is that of `AWS_PROFILE`, else `default`.
///
/// # Errors
///
/// A file is malformed.
pub async fn profiles() -> Result<ProfileSet, profile::ProfileFileLoadError> {
    profile::load(&Fs::real(), &Env::real(), &EnvConfigFiles::default(), None).await
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

    /// A client for an AWS SDK that trusts them too.
    pub fn sdk_client(&self) -> SharedHttpClient {
        let store = TrustStore::default().with_native_roots(true).with_pem_certificate(self.pem.to_vec());
        let context = TlsContext::builder().with_trust_store(store).build().expect("the certificates were read before");
        let builder = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        builder.tls_context(context).build_https()
    }
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
