//! The two bodies of a job, in S3.

use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrlapi_domain::{JobId, Payload};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::AsyncRead;

use super::JobStore;
use super::verified::Verified;
use crate::{RefusalKind, StoreError};

/// Every key in the bucket, and the only place that makes them.
#[derive(Clone, Copy)]
pub(super) enum Key {
    Request(JobId),
    Response(JobId),
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Request(id) => write!(f, "request/{id}.json"),
            Self::Response(id) => write!(f, "response/{id}.json"),
        }
    }
}

impl JobStore {
    /// Fetches a request's body; `None` if it is gone. A body that is not what its row says, in size and digest, is
    /// refused.
    pub async fn read_request(&self, id: JobId, expected: &Payload) -> Result<Option<Bytes>, StoreError> {
        self.get_object(Key::Request(id), id, expected).await
    }

    /// Fetches a response's body; `None` if it is gone. A body that is not what its row says, in size and digest, is
    /// refused.
    pub async fn read_response(&self, id: JobId, expected: &Payload) -> Result<Option<Bytes>, StoreError> {
        self.get_object(Key::Response(id), id, expected).await
    }

    /// Opens a response's body, to be read without holding it in memory. Another size than the row's is refused here,
    /// another digest at its end.
    pub async fn open_response(
        &self,
        id: JobId,
        expected: &Payload,
    ) -> Result<Option<impl AsyncRead + use<>>, StoreError> {
        let body = self.open_object(Key::Response(id), id, expected).await?;
        Ok(body.map(|body| Verified::new(body.into_async_read(), &expected.sha256)))
    }

    /// A link that whoever has it may follow to a response's body, for this long; not longer than this process's own
    /// credentials hold. Nothing is sent.
    pub async fn response_link(&self, id: JobId, valid: Duration) -> Result<String, StoreError> {
        let valid =
            PresigningConfig::expires_in(valid).map_err(StoreError::because("make a link", RefusalKind::Other))?;
        let get = self.s3.get_object().bucket(&self.bucket).key(Key::Response(id).to_string());
        // As the API's own answer has it: a private result, which no cache keeps and no browser shows as a page.
        let get = get
            .response_cache_control("private, no-store")
            .response_content_type("application/json")
            .response_content_disposition(format!("attachment; filename=\"{id}.json\""));
        let link = get.presigned(valid).await.map_err(StoreError::unavailable("make a link"))?;
        Ok(link.uri().to_owned())
    }

    pub(super) async fn put_request(&self, id: JobId, body: Bytes, payload: &Payload) -> Result<(), StoreError> {
        let put = self.put_object(Key::Request(id), body.into(), payload);
        put.send().await.map(drop).map_err(StoreError::unavailable("write a request"))
    }

    pub(super) async fn delete_request(&self, id: JobId) -> Result<(), StoreError> {
        let delete = self.s3.delete_object().bucket(&self.bucket).key(Key::Request(id).to_string());
        delete.send().await.map(drop).map_err(StoreError::unavailable("remove a request"))
    }

    pub(super) fn put_object(&self, key: Key, body: ByteStream, payload: &Payload) -> PutObjectFluentBuilder {
        let put = self.s3.put_object().bucket(&self.bucket).key(key.to_string()).content_type("application/json");
        put.checksum_sha256(&payload.sha256).body(body)
    }

    async fn get_object(&self, key: Key, id: JobId, expected: &Payload) -> Result<Option<Bytes>, StoreError> {
        let Some(body) = self.open_object(key, id, expected).await? else { return Ok(None) };
        let body = body
            .collect()
            .await
            .map_err(StoreError::because("read an object to its end", RefusalKind::Unreachable))?
            .into_bytes();
        if BASE64_STANDARD.encode(Sha256::digest(&body)) != expected.sha256 {
            return Err(StoreError::Damaged { id, what: format!("{key} has another SHA-256 than its row says") });
        }
        Ok(Some(body))
    }

    async fn open_object(&self, key: Key, id: JobId, expected: &Payload) -> Result<Option<ByteStream>, StoreError> {
        let object = match self.s3.get_object().bucket(&self.bucket).key(key.to_string()).send().await {
            Ok(object) => object,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(StoreError::unavailable("read an object")(error)),
        };
        let size_bytes = object.content_length().and_then(|length| u64::try_from(length).ok());
        if size_bytes != Some(expected.size_bytes) {
            let what = format!("{key} has {size_bytes:?} bytes, its row says {}", expected.size_bytes);
            return Err(StoreError::Damaged { id, what });
        }
        Ok(Some(object.body))
    }
}

fn is_missing(error: &SdkError<GetObjectError>) -> bool {
    error.as_service_error().is_some_and(GetObjectError::is_no_such_key)
}
