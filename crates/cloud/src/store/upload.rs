//! A response's way into S3: small ones in one piece, large ones in parts, none of them held in memory.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::config;
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bcrlapi_domain::{JobId, Payload};
use futures::{StreamExt, TryStreamExt, stream};

use super::JobStore;
use super::objects::Key;
use crate::{RefusalKind, StoreError};

/// The size of the parts of a large response, but for the last one. S3 takes at least 5 MiB, and at most 10,000 parts.
pub const PART_BYTES: u64 = 16 * 1024 * 1024;
/// The most parts of one response that are under way at once.
const PARALLEL_PARTS: usize = 4;
/// How long an upload may take, over the time that its bytes take at the slowest rate that is waited for.
const UPLOAD_TIMEOUT: Duration = Duration::from_mins(1);
const UPLOAD_BYTES_PER_S: u64 = 16 * 1024;

impl JobStore {
    /// Uploads a response from its file, without holding it in memory: in one piece, or in parts of [`PART_BYTES`] if
    /// it has more than one. S3 checks what it gets against the SHA-256 of the whole, or of each part.
    pub async fn put_response(
        &self,
        id: JobId,
        file: &File,
        payload: &Payload,
        part_sha256s: &[String],
    ) -> Result<(), StoreError> {
        if part_sha256s.len() <= 1 {
            let body = slice(file, 0, payload.size_bytes).await?;
            let put = self.put_object(Key::Response(id), body, payload).customize();
            let put = put.config_override(with_time_for(payload.size_bytes));
            return put.send().await.map(drop).map_err(StoreError::unavailable("upload a response"));
        }

        let key = Key::Response(id).to_string();
        let create = self.s3.create_multipart_upload().bucket(&self.bucket).key(&key).content_type("application/json");
        let create = create.checksum_algorithm(ChecksumAlgorithm::Sha256).send().await;
        let begun = create.map_err(StoreError::unavailable("begin to upload a response"))?;
        let no_id = || StoreError::refused("begin to upload a response", RefusalKind::Other, "no upload id");

        let upload = Multipart { store: self, key, id: begun.upload_id.ok_or_else(no_id)?, file };
        let sent = upload.send(payload.size_bytes, part_sha256s).await;
        if sent.is_err() {
            upload.abort().await;
        }
        sent
    }
}

/// An upload in parts that has begun.
struct Multipart<'a> {
    store: &'a JobStore,
    key: String,
    id: String,
    file: &'a File,
}

impl Multipart<'_> {
    async fn send(&self, size_bytes: u64, part_sha256s: &[String]) -> Result<(), StoreError> {
        let mut parts = Vec::with_capacity(part_sha256s.len());
        for (sha256, number) in part_sha256s.iter().zip(1..) {
            parts.push(self.send_part(number, sha256, size_bytes));
        }
        let parts = stream::iter(parts).buffered(PARALLEL_PARTS).try_collect().await?;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = self.store.s3.complete_multipart_upload().bucket(&self.store.bucket).key(&self.key);
        // S3 may take long to put the parts together.
        let complete = complete.upload_id(&self.id).multipart_upload(parts).customize();
        let complete = complete.config_override(with_time_for(size_bytes)).send().await;
        complete.map(drop).map_err(StoreError::unavailable("complete the upload of a response"))
    }

    async fn send_part(&self, number: i32, sha256: &str, size_bytes: u64) -> Result<CompletedPart, StoreError> {
        let offset = u64::from(number.unsigned_abs() - 1) * PART_BYTES;
        let length = PART_BYTES.min(size_bytes - offset);
        let put = self.store.s3.upload_part().bucket(&self.store.bucket).key(&self.key).upload_id(&self.id);
        let put = put.part_number(number).checksum_sha256(sha256).body(slice(self.file, offset, length).await?);
        let sent = put.customize().config_override(with_time_for(length)).send().await;
        let sent = sent.map_err(StoreError::unavailable("upload a part of a response"))?;
        let part = CompletedPart::builder().part_number(number).checksum_sha256(sha256);
        Ok(part.set_e_tag(sent.e_tag).build())
    }

    /// Frees what was uploaded. Where this fails, the bucket's lifecycle does it.
    async fn abort(&self) {
        let abort = self.store.s3.abort_multipart_upload().bucket(&self.store.bucket).key(&self.key);
        let _ = abort.upload_id(&self.id).send().await;
    }
}

/// A part of the file, to be read as it is sent.
async fn slice(file: &File, offset: u64, length: u64) -> Result<ByteStream, StoreError> {
    // By this name every try of the SDK reads this very file, whatever has become of its path.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let read = ByteStream::read_from().path(path).offset(offset).length(Length::Exact(length)).build();
    read.await.map_err(StoreError::because("read the response file", RefusalKind::Other))
}

fn with_time_for(bytes: u64) -> config::Builder {
    let limit = UPLOAD_TIMEOUT + Duration::from_secs(bytes / UPLOAD_BYTES_PER_S);
    config::Builder::new().timeout_config(TimeoutConfig::builder().operation_timeout(limit).build())
}
