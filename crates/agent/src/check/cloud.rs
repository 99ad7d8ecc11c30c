//! The cloud's side: credentials, the two stores, the clock, and what this identity may do.

use bcrlapi_cloud::{FoundCredentials, JobStore, Refusal, RefusalKind, StoreError, Tried};
use chrono::TimeDelta;

use super::Finding;

const CREDENTIALS: &str = "credentials";
const TABLE: &str = "table";
const BUCKET: &str = "bucket";
const CLOCK: &str = "clock";
const PERMISSIONS: &str = "permissions";

/// From here on dates in the lab's files and its heartbeat are noticeably wrong.
const SKEW_WARN: TimeDelta = TimeDelta::seconds(30);
/// From here on AWS refuses signatures. Source: IAM User Guide, "Elements of an AWS API request signature".
const SKEW_MAX: TimeDelta = TimeDelta::minutes(5);

const ATTACH: &str = "give it the policy that is the deployment's output AgentPolicyArn";
const NETWORK: &str = "open outbound HTTPS to it, or set HTTPS_PROXY; if your proxy inspects TLS, set AWS_CA_BUNDLE to its CA certificate";

type Answer = Result<(), Refusal>;

pub(super) async fn check(store: &JobStore) -> [Finding; 5] {
    let found = FoundCredentials::find().await;
    let (Ok(_), Some(region)) = (&found, store.region()) else {
        let not_tried = |subject| Finding::fail(subject, "not tried: fix the credentials first");
        let credentials = credentials(&found, store.region(), &[]);
        return [credentials, not_tried(TABLE), not_tried(BUCKET), not_tried(CLOCK), not_tried(PERMISSIONS)];
    };
    let trial = store.trial();
    let (of_table, of_bucket) = tokio::join!(trial.table(), trial.bucket());
    let permissions = if [&of_table, &of_bucket].into_iter().all(is_answered) {
        let (calls, of_resync) = tokio::join!(trial.calls(), trial.calls_of_resync());
        permissions(&calls, &of_resync)
    } else {
        Finding::fail(PERMISSIONS, "not tried: fix what is above first")
    };
    [
        credentials(&found, Some(region), &[&of_table, &of_bucket]),
        table(store.table(), region, &of_table),
        bucket(store.bucket(), region, &of_bucket),
        clock(trial.clock_skew()),
        permissions,
    ]
}

/// Whether the store is there and knows who asks: then other calls to it are worth a try.
fn is_answered(answer: &Answer) -> bool {
    answer.as_ref().err().is_none_or(|refusal| refusal.kind == RefusalKind::Permission)
}

fn credentials(found: &Result<FoundCredentials, StoreError>, region: Option<&str>, answers: &[&Answer]) -> Finding {
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            return Finding::fail(
                CREDENTIALS,
                format!("{error}; the README in infra/lab names three ways to have some"),
            );
        }
    };
    let expiry = found.expiry_date.map_or_else(String::new, |date| format!(", until {}", date.to_rfc3339()));
    let which = format!("{} from {}{expiry}", found.access_key_id, found.source);
    let is_about_keys = |refusal: &&Refusal| matches!(refusal.kind, RefusalKind::Credentials | RefusalKind::Expired);
    match (region, answers.iter().filter_map(|answer| answer.as_ref().err()).find(is_about_keys)) {
        (None, _) => Finding::fail(CREDENTIALS, format!("{which}, but no region; set AWS_REGION")),
        (_, Some(refusal)) => Finding::fail(CREDENTIALS, format!("AWS refuses {which}: {refusal}; replace them there")),
        (Some(_), None) => Finding::ok(CREDENTIALS, which),
    }
}

fn table(name: &str, region: &str, answer: &Answer) -> Finding {
    let Err(refusal) = answer else {
        return Finding::ok(TABLE, format!("{name} in {region}, with its index inbox"));
    };
    let fix = match refusal.kind {
        RefusalKind::Missing => {
            format!("--table is the deployment's output TableName, and AWS_REGION ({region}) its region")
        }
        RefusalKind::Permission => format!("it may not dynamodb:Query the index inbox: {ATTACH}"),
        RefusalKind::Other => "is --table the deployment's output TableName?".to_owned(),
        kind => elsewhere(kind),
    };
    Finding::fail(TABLE, format!("{name}: {refusal}; {fix}"))
}

fn bucket(name: &str, region: &str, answer: &Answer) -> Finding {
    let Err(refusal) = answer else { return Finding::ok(BUCKET, format!("{name} in {region}")) };
    let fix = match refusal.kind {
        RefusalKind::Missing => "--bucket is the deployment's output BucketName".to_owned(),
        RefusalKind::Permission => {
            format!(
                "it may not s3:ListBucket, or the bucket is somebody else's: is --bucket BucketName? If so, {ATTACH}"
            )
        }
        RefusalKind::Other => "is --bucket the deployment's output BucketName?".to_owned(),
        kind => elsewhere(kind),
    };
    Finding::fail(BUCKET, format!("{name}: {refusal}; {fix}"))
}

/// What to do where the store itself is not to blame.
fn elsewhere(kind: RefusalKind) -> String {
    match kind {
        RefusalKind::Unreachable => NETWORK,
        RefusalKind::Credentials | RefusalKind::Expired => "see credentials",
        RefusalKind::Clock => "see clock",
        RefusalKind::Region => "set AWS_REGION to the deployment's region",
        RefusalKind::Throttled => "run this again in a minute, and look at who else calls",
        RefusalKind::Permission | RefusalKind::Missing | RefusalKind::Other => "see the deployment's outputs",
    }
    .to_owned()
}

fn clock(ahead: Option<TimeDelta>) -> Finding {
    let Some(ahead) = ahead else { return Finding::fail(CLOCK, format!("not known: AWS did not answer; {NETWORK}")) };
    let where_ = if ahead < TimeDelta::zero() { "behind" } else { "ahead of" };
    let text = format!("{} s {where_} AWS's", ahead.num_seconds().abs());
    match ahead.abs() {
        skew if skew >= SKEW_MAX => {
            Finding::fail(CLOCK, format!("{text}; AWS refuses what is signed so: timedatectl set-ntp true"))
        }
        skew if skew >= SKEW_WARN => Finding::warn(CLOCK, format!("{text}; dates are wrong: timedatectl set-ntp true")),
        _ => Finding::ok(CLOCK, text),
    }
}

fn permissions(calls: &[Tried], of_resync: &[Tried]) -> Finding {
    let denied = names(calls, |refusal| refusal.kind == RefusalKind::Permission);
    if !denied.is_empty() {
        return Finding::fail(PERMISSIONS, format!("this identity may not {}; {ATTACH}", denied.join(", ")));
    }
    if let Some((name, Err(refusal))) = calls.iter().find(|(_, answer)| answer.is_err()) {
        return Finding::fail(
            PERMISSIONS,
            format!("{name}: {refusal}; run this again, and if it stays, ask your AWS admin"),
        );
    }
    let text = format!("all {} calls that a serving agent makes", calls.len());
    if names(of_resync, |_| true).is_empty() {
        return Finding::ok(PERMISSIONS, format!("{text}, and those of a resync"));
    }
    Finding::ok(PERMISSIONS, format!("{text}; a resync needs the output ResyncPolicyArn too"))
}

/// The calls that were refused so.
fn names(tried: &[Tried], is_wanted: impl Fn(&Refusal) -> bool) -> Vec<&'static str> {
    let is_refused = |answer: &Answer| answer.as_ref().is_err_and(&is_wanted);
    tried.iter().filter(|(_, answer)| is_refused(answer)).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;

    fn refused(kind: RefusalKind) -> Answer {
        Err(Refusal { kind, words: "no".to_owned() })
    }

    fn found() -> FoundCredentials {
        FoundCredentials { access_key_id: "AKIA1".to_owned(), source: "the environment", expiry_date: None }
    }

    #[test]
    fn keys_that_aws_refuses_are_the_credentials_fault() {
        let found = Ok(found());
        let verdict = |answers: &[&Answer]| credentials(&found, Some("eu-west-1"), answers).verdict;
        assert_eq!(verdict(&[&Ok(()), &refused(RefusalKind::Missing)]), Verdict::Ok);
        assert_eq!(verdict(&[&Ok(()), &refused(RefusalKind::Credentials)]), Verdict::Fail);
        assert_eq!(verdict(&[&Ok(()), &refused(RefusalKind::Expired)]), Verdict::Fail);
        assert_eq!(credentials(&found, None, &[]).verdict, Verdict::Fail, "no region");
    }

    #[test]
    fn a_clock_may_be_off_by_a_little() {
        let verdict = |seconds| clock(Some(TimeDelta::seconds(seconds))).verdict;
        assert_eq!([verdict(0), verdict(-29), verdict(29)], [Verdict::Ok; 3]);
        assert_eq!([verdict(-30), verdict(299)], [Verdict::Warn; 2]);
        assert_eq!([verdict(300), verdict(-86_400)], [Verdict::Fail; 2]);
        assert_eq!(
            clock(Some(TimeDelta::seconds(-40))).text,
            "40 s behind AWS's; dates are wrong: timedatectl set-ntp true"
        );
        assert_eq!(clock(None).verdict, Verdict::Fail);
    }

    #[test]
    fn what_is_not_permitted_is_named() {
        let calls = [("a:Get", Ok(())), ("a:Put", refused(RefusalKind::Permission))];
        let scan = [("a:Scan", refused(RefusalKind::Permission))];
        let finding = permissions(&calls, &scan);
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(finding.text.contains("may not a:Put;"), "{}", finding.text);
        let finding = permissions(&calls[..1], &scan);
        assert_eq!(finding.verdict, Verdict::Ok, "an agent that serves has no need of it");
        assert!(finding.text.contains("ResyncPolicyArn"), "{}", finding.text);
        assert_eq!(permissions(&[("a:Get", refused(RefusalKind::Other))], &[]).verdict, Verdict::Fail);
        assert_eq!(permissions(&calls[..1], &[]).verdict, Verdict::Ok);
    }

    #[test]
    fn every_reason_says_what_to_do() {
        for kind in RefusalKind::ALL {
            for finding in [table("t", "eu-west-1", &refused(kind)), bucket("b", "eu-west-1", &refused(kind))] {
                assert_eq!(finding.verdict, Verdict::Fail);
                assert!(finding.text.split_once("no; ").is_some_and(|(_, fix)| fix.len() > 8), "{finding}");
            }
        }
    }
}
