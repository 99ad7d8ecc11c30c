use std::net::{AddrParseError, IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bcrlapi_domain::{ApiName, InvalidApiName, OwnerScope};
use clap::{Parser, Subcommand};

/// The whole of bcrlapi on this computer: the API, DynamoDB and S3, the agent and a worker.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one job from end to end and show every step; leaves nothing behind.
    Demo,
    /// Stay up, with data that is kept, for your own client, agent or worker.
    Up(Up),
    /// Be a client: submit jobs, follow and check every one, print a summary.
    Load(Load),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// Where the API listens; the two ports after it are DynamoDB's and S3's. 0 takes free ones.
    #[arg(long, default_value_t = 9000)]
    pub(crate) port: u16,
    /// The address of this computer at which the three listen. They check signatures at any, and encrypt nothing.
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST.into(), value_name = "ADDRESS", value_parser = one_address)]
    pub(crate) listen: IpAddr,
    /// Where data and keys are kept.
    #[arg(long, default_value = ".bcrlapi", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The apis that are offered, separated by commas or blanks; with '*' every name is.
    #[arg(long, default_value = "soc,mock", num_args = 1.., value_name = "NAMES")]
    pub(crate) apis: Vec<Offer>,
    /// Whose jobs a caller sees: `principal`, `account` or `session`.
    #[arg(long, default_value = OwnerScope::default().as_str(), value_name = "SCOPE")]
    pub(crate) owner_scope: OwnerScope,
    /// How many jobs may be open before more are refused; any number without this.
    #[arg(long, value_name = "N")]
    pub(crate) queue_limit: Option<usize>,
    /// Start no worker: run your own, or examples/app-server/cron.py.
    #[arg(long)]
    pub(crate) no_worker: bool,
    /// Start no agent: run your own bcrlapi-agent.
    #[arg(long)]
    pub(crate) no_agent: bool,
}

/// What one argument of `--apis` offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Every,
    Named(Vec<ApiName>),
}

impl Offer {
    const EVERY: &str = "*";

    /// The apis that these offer together; none where every name is offered.
    pub(crate) fn together(offers: &[Self]) -> Vec<ApiName> {
        let mut names = Vec::new();
        for offer in offers {
            match offer {
                Self::Every => return Vec::new(),
                Self::Named(more) => names.extend_from_slice(more),
            }
        }
        names
    }
}

/// Why an argument of `--apis` offers nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidOffer {
    #[error(transparent)]
    Name(#[from] InvalidApiName),
    #[error("it names no api; give names, as in soc,mock, or '*' for every name")]
    Nothing,
}

impl FromStr for Offer {
    type Err = InvalidOffer;

    fn from_str(text: &str) -> Result<Self, InvalidOffer> {
        let names: Vec<_> = text.split([',', ' ', '\t']).map(str::trim).filter(|name| !name.is_empty()).collect();

        if names.contains(&Self::EVERY) {
            return Ok(Self::Every);
        }
        if names.is_empty() {
            return Err(InvalidOffer::Nothing);
        }

        let names: Result<_, _> = names.into_iter().map(str::parse).collect();
        Ok(Self::Named(names?))
    }
}

/// Why a server cannot listen there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidAddress {
    #[error(transparent)]
    NoAddress(#[from] AddrParseError),
    #[error("it stands for every address, and requests have to name one; give one that `ip -brief address` lists")]
    Every,
}

/// A request is answered only if it names the address of the server.
fn one_address(text: &str) -> Result<IpAddr, InvalidAddress> {
    let address: IpAddr = text.parse()?;
    // Also where IPv6 writes one of IPv4.
    if address.to_canonical().is_unspecified() {
        return Err(InvalidAddress::Every);
    }

    Ok(address)
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  . .bcrlapi/env && bcrlapi-local load --jobs 20 --every 1s --seconds 3 --fail-rate 0.1

An api with a program of your own, such as double:
  bcrlapi-local load --api double --input 21.json --jobs 20 --every 1s"
)]
pub(crate) struct Load {
    /// The API's URL.
    #[arg(long, env = "BCRLAPI_URL", value_name = "URL")]
    pub(crate) url: String,
    /// The api to submit to. Only of `mock` it is known what the results must be; of others only that they must succeed.
    #[arg(long, default_value = Load::MOCK, value_name = "NAME")]
    pub(crate) api: ApiName,
    /// The file that every job sends, for an api that takes no input of `mock`'s.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["seconds", "fail_rate", "size_bytes"]
    )]
    pub(crate) input: Option<PathBuf>,
    /// How many jobs to submit.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) jobs: u32,
    /// The pause between two submits.
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) every: Duration,
    /// How long each job takes in the lab, in seconds.
    #[arg(long, default_value_t = 0.0, value_name = "S")]
    pub(crate) seconds: f64,
    /// How many of the jobs fail in the lab, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    pub(crate) fail_rate: f64,
    /// How large each result is at the least, in bytes.
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    pub(crate) size_bytes: u32,
    /// How long a job may take from submit to result.
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
}

impl Load {
    const MOCK: &str = "mock";

    /// Whether the results can be checked: only `mock` sends back what it was sent, and only where it is sent its fields.
    pub(crate) fn knows_results(&self) -> bool {
        self.api.as_str() == Self::MOCK && self.input.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(arguments: &[&str]) -> Result<Vec<String>, clap::Error> {
        let arguments = ["bcrlapi-local", "up", "--apis"].iter().chain(arguments);
        let args = Args::try_parse_from(arguments)?;
        let Command::Up(up) = args.command else { panic!("{args:?}") };
        Ok(Offer::together(&up.apis).iter().map(ToString::to_string).collect())
    }

    #[test]
    fn names_may_have_blanks_around_them() {
        for arguments in [&["a,b"][..], &["a, b"], &[" a ,b,"], &["a,", "b"], &["a", "b"], &["a", "--apis", "b"]] {
            assert_eq!(offered(arguments).unwrap(), ["a", "b"], "{arguments:?}");
        }
    }

    #[test]
    fn an_asterisk_offers_every_name() {
        for arguments in [&["*"][..], &[" * "], &["soc,*"], &["soc", "*"]] {
            assert_eq!(offered(arguments).unwrap(), [""; 0], "{arguments:?}");
        }
    }

    #[test]
    fn what_names_nothing_or_something_else_is_an_error() {
        for (arguments, reason) in [("", "names no api"), (" , ", "names no api"), ("a,b/c", "b/c"), ("so*", "so*")] {
            let error = offered(&[arguments]).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_server_listens_at_one_address() {
        for one in ["127.0.0.1", "172.17.0.1", "::1", "fd00::2"] {
            assert_eq!(one_address(one).unwrap().to_string(), one);
        }

        for every in ["0.0.0.0", "::", "0:0::0", "::ffff:0.0.0.0"] {
            assert_eq!(one_address(every), Err(InvalidAddress::Every), "{every}");
        }
        for none in ["", "localhost", "127.0.0.1:9000", "172.17.0.0/16"] {
            assert!(matches!(one_address(none), Err(InvalidAddress::NoAddress(_))), "{none}");
        }
    }
}
