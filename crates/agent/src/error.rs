use bcrlapi_cloud::StoreError;
use bcrlapi_directory::DirectoryError;

/// Why a step failed. Every step is tried again.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The cloud's part of it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The shared directory's part of it.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}
