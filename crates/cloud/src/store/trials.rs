//! The store's calls, tried without changing anything.

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{BatchStatementError, BatchStatementErrorCodeEnum};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::GetObjectError;
use bcrlapi_domain::JobId;
use chrono::{DateTime, TimeDelta, Utc};

use super::JobStore;
use super::batches::ANSWERED;
use super::objects::Key;
use crate::schema::{INBOX_NEW, PK};
use crate::{Heartbeat, Refusal, RefusalKind, Tried, item};

/// Tries the calls of an agent, each on a job that cannot be there.
#[derive(Debug)]
pub struct Trial<'a> {
    store: &'a JobStore,
    /// The first millisecond of 1970: expired before anybody could submit it.
    nobodys: JobId,
}

impl JobStore {
    /// What an agent's calls would meet. Nothing is sent yet.
    pub fn trial(&self) -> Trial<'_> {
        Trial { store: self, nobodys: JobId::earliest(DateTime::UNIX_EPOCH) }
    }
}

impl Trial<'_> {
    /// Asks the table's inbox, as every look does.
    pub async fn table(&self) -> Result<(), Refusal> {
        let query = self.store.query_inbox(INBOX_NEW, Utc::now()).limit(1);
        query.send().await.map(drop).map_err(Refusal::from)
    }

    /// Asks the bucket for what it holds, at most one name: who may not ask so is not told either that an object is gone.
    pub async fn bucket(&self) -> Result<(), Refusal> {
        let list = self.store.s3.list_objects_v2().bucket(&self.store.bucket).max_keys(1);
        list.send().await.map(drop).map_err(Refusal::from)
    }

    /// All other calls of an agent that serves.
    pub async fn calls(&self) -> Vec<Tried> {
        let rows = async {
            [
                self.get_item().await,
                self.get_together().await,
                self.update_item().await,
                self.update_together().await,
                self.put_item().await,
            ]
        };
        let get = async { [self.get_object(Key::Request(self.nobodys)).await] };
        let (rows, get, put) = tokio::join!(rows, get, self.put_object());
        rows.into_iter().chain(get).chain(put).collect()
    }

    /// The calls that only a resync makes.
    pub async fn calls_of_resync(&self) -> Vec<Tried> {
        let scan = self.store.dynamodb.scan().table_name(&self.store.table).limit(1).send();
        let (scan, get) = tokio::join!(scan, self.get_object(Key::Response(self.nobodys)));
        vec![("dynamodb:Scan", scan.map(drop).map_err(Refusal::from)), get]
    }

    /// How far this computer's clock is ahead of AWS's, to a second and to the time that an answer
    /// takes; `None` where nobody has answered yet.
    pub fn clock_skew(&self) -> Option<TimeDelta> {
        self.store.date().map(|date| Utc::now() - date)
    }

    async fn get_item(&self) -> Tried {
        let get = self.store.dynamodb.get_item().table_name(&self.store.table).key(PK, item::pk(self.nobodys));
        ("dynamodb:GetItem", get.send().await.map(drop).map_err(Refusal::from))
    }

    async fn get_together(&self) -> Tried {
        let get = self.store.get_together(&[self.nobodys]);
        ("dynamodb:BatchGetItem", get.send().await.map(drop).map_err(Refusal::from))
    }

    async fn update_item(&self) -> Tried {
        let update = self.store.dynamodb.update_item().table_name(&self.store.table);
        let update =
            update.key(PK, item::pk(self.nobodys)).update_expression("REMOVE trial").condition_expression(never());
        let tried = match update.send().await {
            Err(error) if is(&error, UpdateItemError::is_conditional_check_failed_exception) => Ok(()),
            other => other.map(drop).map_err(Refusal::from),
        };
        ("dynamodb:UpdateItem", tried)
    }

    /// The permission for one of the statements is told in its own answer.
    async fn update_together(&self) -> Tried {
        let tried = match self.store.take_together(&[self.nobodys]).send().await {
            Ok(answered) => answered.responses().iter().filter_map(|answer| answer.error()).try_for_each(refusal),
            Err(error) => Err(Refusal::from(error)),
        };
        ("dynamodb:PartiQLUpdate", tried)
    }

    async fn put_item(&self) -> Tried {
        let put = self.store.dynamodb.put_item().table_name(&self.store.table);
        let tried = match put.item(PK, Heartbeat::pk()).condition_expression(never()).send().await {
            Err(error) if is(&error, PutItemError::is_conditional_check_failed_exception) => Ok(()),
            other => other.map(drop).map_err(Refusal::from),
        };
        ("dynamodb:PutItem", tried)
    }

    async fn get_object(&self, key: Key) -> Tried {
        let get = self.store.s3.get_object().bucket(&self.store.bucket).key(key.to_string());
        let tried = match get.send().await {
            Err(error) if is(&error, GetObjectError::is_no_such_key) => Ok(()),
            other => other.map(drop).map_err(Refusal::from),
        };
        let name = match key {
            Key::Request(_) => "s3:GetObject of request/*",
            Key::Response(_) => "s3:GetObject of response/*",
        };
        (name, tried)
    }

    /// Begins an upload, which takes the permission to write, and gives it up again: no object comes of it.
    async fn put_object(&self) -> Vec<Tried> {
        let (s3, bucket, key) = (&self.store.s3, &self.store.bucket, Key::Response(self.nobodys).to_string());
        let begun = s3.create_multipart_upload().bucket(bucket).key(&key).send().await;
        let begun = begun.map_err(Refusal::from);
        let mut tried = Vec::new();
        if let Ok(begun) = &begun {
            let abort = s3.abort_multipart_upload().bucket(bucket).key(key).set_upload_id(begun.upload_id.clone());
            tried.push(("s3:AbortMultipartUpload of response/*", abort.send().await.map(drop).map_err(Refusal::from)));
        }
        tried.push(("s3:PutObject of response/*", begun.map(drop)));
        tried
    }
}

fn refusal(error: &BatchStatementError) -> Result<(), Refusal> {
    if error.code() == Some(&BatchStatementErrorCodeEnum::ConditionalCheckFailed) {
        return Ok(());
    }
    let code = error.code().map(BatchStatementErrorCodeEnum::as_str);
    let words = error.message().unwrap_or("an error without a message");
    Err(Refusal { kind: RefusalKind::of(code, words, ANSWERED), words: words.to_owned() })
}

fn is<E>(error: &SdkError<E>, kind: impl FnOnce(&E) -> bool) -> bool {
    error.as_service_error().is_some_and(kind)
}

/// A condition that no row fulfils: it is judged only once the call is permitted.
fn never() -> String {
    format!("attribute_exists({PK}) AND attribute_not_exists({PK})")
}
