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
    }
}
