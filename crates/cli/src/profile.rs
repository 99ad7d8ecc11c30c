//! The profile of the AWS CLI that is chosen, as far as it says more than where keys are.

use std::env;

use aws_config::profile::{Profile, ProfileSet};
use bcrlapi_settings::aws::profiles;

use crate::ClientError;
use crate::error::chain;

const DEFAULT: &str = "default";

/// What the files of the AWS CLI say of the profile that is chosen.
#[derive(Debug)]
pub(crate) struct ChosenProfile {
    name: String,
    /// `None` where nobody has chosen one, and there is no `default`.
    section: Option<Profile>,
}

impl ChosenProfile {
    /// Reads `~/.aws/config` and `~/.aws/credentials`, or what the environment names in their place.
    ///
    /// # Errors
    ///
    /// A profile was chosen by name, and there is none of this name; or the files are malformed.
    pub(crate) async fn read(option: Option<&str>) -> Result<Self, ClientError> {
        let profiles = profiles()
            .await
            .map_err(|error| ClientError::unsigned(format!("cannot read the AWS CLI's files: {}", chain(&error))))?;
        let chosen = option.map(str::to_owned).or_else(|| set("AWS_PROFILE"));
        let name = chosen.clone().unwrap_or_else(|| DEFAULT.to_owned());
        let section = profiles.get_profile(&name).cloned();

        // Keys of the environment come before a profile that it names, and not before one that is an option.
        let is_needed = option.is_some() || (chosen.is_some() && set("AWS_ACCESS_KEY_ID").is_none());
        if section.is_none() && is_needed {
            return Err(missing(&name, option.is_some(), &profiles));
        }
        Ok(Self { name, section })
    }

    /// A value of the profile, such as that of `ca_bundle`.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.section.as_ref()?.get(key)
    }

    /// What makes expired credentials of this profile good again.
    pub(crate) fn renewal(&self) -> Option<String> {
        let verb = if self.get("sso_session").or(self.get("sso_start_url")).is_some() {
            "aws sso login"
        } else if self.get("login_session").is_some() {
            "aws login"
        } else {
            return None;
        };
        Some(if self.name == DEFAULT { verb.to_owned() } else { format!("{verb} --profile {}", self.name) })
    }
}

/// A variable that is set, and not to nothing.
pub(crate) fn set(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn missing(name: &str, is_option: bool, profiles: &ProfileSet) -> ClientError {
    let chosen_by = if is_option { "--profile" } else { "AWS_PROFILE" };
    let mut known: Vec<_> = profiles.profiles().collect();
    known.sort_unstable();
    let known =
        if known.is_empty() { "there is none at all".to_owned() } else { format!("there are: {}", known.join(", ")) };
    ClientError::Unsigned {
        reason: format!("{chosen_by} names the profile {name:?}, which the AWS CLI's files do not have; {known}"),
        next: Some(format!("choose another, or create it: aws configure --profile {name}")),
    }
}
