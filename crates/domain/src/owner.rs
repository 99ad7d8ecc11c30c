use std::str::FromStr;

use crate::UnknownWord;

/// Who may see a job: `{account id}:{the caller's unique id}`, such as `123456789012:AIDA…`.
///
/// The unique id of a user or role never comes back for another one, as a name can. Of a role's caller
/// (`AROA…:session`) only the role's part counts, so that every session of one role sees the same jobs. Any other
/// id stays whole: a federated user's is `{account id}:{name}`.
/// Source: IAM User Guide, "IAM identifiers" and "Policy variables".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(String);

impl Owner {
    const ROLE_PREFIX: &str = "AROA";

    /// The owner behind what API Gateway says of a caller; none where either part is missing.
    pub fn from_identity(account_id: &str, caller: &str) -> Option<Self> {
        let unique_id = match caller.split_once(':') {
            Some((role, _session)) if role.starts_with(Self::ROLE_PREFIX) => role,
            _ => caller,
        };
        if account_id.is_empty() || unique_id.is_empty() {
            return None;
        }
        Some(Self(format!("{account_id}:{unique_id}")))
    }

    /// An owner as the table keeps it.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The owner as the table keeps it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whose jobs a caller shares: a deployment's choice. Jobs of another choice are nobody's until it is taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnerScope {
    /// One IAM user or role, in all its sessions. See [`Owner`].
    #[default]
    Principal,
    /// Everybody of one AWS account.
    Account,
    /// One session of a role. Whoever may assume the role names the session, unless its trust policy forbids that. An IAM
    /// user is one owner, as in [`Self::Principal`]: a user's unique id has no session in it, also where the keys are
    /// temporary.
    Session,
}

impl OwnerScope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Principal, Self::Account, Self::Session];

    /// The owner behind what API Gateway says of a caller; none where either part is missing, whatever the scope.
    pub fn owner(self, account_id: &str, caller: &str) -> Option<Owner> {
        let principal = Owner::from_identity(account_id, caller)?;
        Some(match self {
            Self::Principal => principal,
            Self::Account => Owner(account_id.to_owned()),
            Self::Session => Owner(format!("{account_id}:{caller}")),
        })
    }

    /// The word in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::Account => "account",
            Self::Session => "session",
        }
    }
}

impl FromStr for OwnerScope {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let known = Self::ALL.into_iter().find(|scope| scope.as_str() == word);
        known.ok_or_else(|| UnknownWord { kind: "owner scope", word: word.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_one_role_are_one_owner_and_accounts_are_not() {
        let owner = |account, caller| Owner::from_identity(account, caller);
        assert_eq!(owner("1", "AROA:alice"), owner("1", "AROA:bob"));
        assert_ne!(owner("1", "AROA:alice"), owner("2", "AROA:alice"));
        assert_ne!(owner("1", "AIDA1"), owner("1", "AIDA2"));
        assert_ne!(owner("1", "1:carol"), owner("1", "1:dave"), "federated users");
    }

    #[test]
    fn a_missing_part_is_nobody() {
        assert_eq!(Owner::from_identity("", "AIDA"), None);
        assert_eq!(Owner::from_identity("1", ""), None);
        for scope in OwnerScope::ALL {
            assert_eq!((scope.owner("", "AIDA"), scope.owner("1", "")), (None, None));
        }
    }

    #[test]
    fn a_scope_is_narrower_or_wider_than_a_principal() {
        let is_one = |scope: OwnerScope, one, other| scope.owner("1", one) == scope.owner("1", other);
        assert!(!is_one(OwnerScope::Session, "AROA:alice", "AROA:bob"));
        assert!(is_one(OwnerScope::Principal, "AROA:alice", "AROA:bob"));
        assert!(!is_one(OwnerScope::Principal, "AROA:alice", "AIDA"));
        assert!(is_one(OwnerScope::Account, "AROA:alice", "AIDA"));
        assert_ne!(OwnerScope::Account.owner("1", "AIDA"), OwnerScope::Account.owner("2", "AIDA"));
        let user = |scope: OwnerScope| scope.owner("1", "AIDA");
        assert_eq!(user(OwnerScope::Session), user(OwnerScope::Principal), "a user has no sessions");
    }

    #[test]
    fn only_the_words_of_the_scopes_are_scopes() {
        for scope in OwnerScope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(scope));
        }
        assert!("everybody".parse::<OwnerScope>().is_err());
    }
}
