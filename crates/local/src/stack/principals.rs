use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use aws_credential_types::Credentials;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Somebody with keys, and what API Gateway says of them. Made up for one stack, and worth nothing anywhere else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Principal {
    /// A name for people.
    pub name: String,
    /// The AWS account.
    pub account_id: String,
    /// The unique id that API Gateway passes on as `caller`.
    pub caller: String,
    /// The ARN that API Gateway passes on as `userArn`.
    pub user_arn: String,
    /// The id of the keys.
    pub access_key_id: String,
    /// The secret of the keys.
    pub secret_access_key: String,
    /// The token that goes with the keys where they are those of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
}

impl Principal {
    const NAMES: [&str; 2] = ["alice", "bob"];
    pub(super) const ACCOUNT_ID: &str = "123456789012";

    /// The keys, as AWS SDKs take them.
    pub fn credentials(&self) -> Credentials {
        Credentials::new(
            &self.access_key_id,
            &self.secret_access_key,
            self.session_token.clone(),
            None,
            "bcrlapi-local",
        )
    }

    fn invent(name: &str) -> Self {
        // The lengths are AWS's own; some clients insist on them.
        let random = || format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let id = |prefix: &str| format!("{prefix}{}", &random().to_uppercase()[..16]);
        Self {
            name: name.to_owned(),
            account_id: Self::ACCOUNT_ID.to_owned(),
            caller: id("AIDA"),
            user_arn: format!("arn:aws:iam::{}:user/{name}", Self::ACCOUNT_ID),
            access_key_id: id("AKIA"),
            secret_access_key: random()[..40].to_owned(),
            session_token: None,
        }
    }
}

/// The principals of the file; where there is none, it is made, readable for its owner only.
pub(super) fn load_or_create(file: &Path) -> anyhow::Result<Vec<Principal>> {
    let name = file.display();
    match fs::read(file) {
        Ok(bytes) => {
            let principals: Vec<Principal> =
                serde_json::from_slice(&bytes).with_context(|| format!("{name} is damaged; remove it"))?;
            anyhow::ensure!(!principals.is_empty(), "{name} names nobody; remove it");
            Ok(principals)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let principals = Principal::NAMES.map(Principal::invent).to_vec();
            let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
            made.write_all(&serde_json::to_vec_pretty(&principals)?)?;
            Ok(principals)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {name}")),
    }
}
