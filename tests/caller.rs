//! What a caller's first day has in store: proxies, portals, VPNs, full disks, settings from other systems.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use bcrlapi_local::until;
use bcrlapi_tests::{Fate, Faults, Process, System, binary};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// Somebody on loopback who answers everything with the same bytes, and notes what was sent.
struct Canned {
    url: String,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Canned {
    async fn start(answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let of_server = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), Arc::clone(&of_server)));
            }
        });
        Self { url, received }
    }

    fn received(&self) -> String {
        String::from_utf8_lossy(&self.received.lock().unwrap()).into_owned()
    }
}

async fn serve(mut stream: TcpStream, answer: String, received: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(length @ 1..) = stream.read(&mut chunk).await {
        received.lock().unwrap().extend_from_slice(&chunk[..length]);
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// The command, in the environment of a caller of this system.
fn command(system: &System, arguments: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = system.command("bcrlapi");
    command.args(arguments).envs(env.iter().copied()).stdin(Stdio::null());
    command
}

/// Another program, in the same environment.
fn other_command(system: &System, program: &str) -> Command {
    let mut other = Command::new(program);
    for (name, value) in system.command("bcrlapi").get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other
}

async fn run(system: &System, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = command(system, arguments, env);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn assert_said(output: &Output, code: i32, hints: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for hint in hints {
        assert!(said.contains(hint), "{hint:?} is not in:\n{said}");
    }
}

/// A job that is done, with this result.
async fn done(system: &System, response: &str) -> String {
    let job = system.submit("mock", &json!({})).await;
    system.finish(job.uuid, response).await;
    job.uuid.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_redirect_is_followed_and_nobody_else_gets_token_or_body() {
    let system = System::start().await;
    fs::write(system.path("in.json"), r#"{"secret": "input"}"#).unwrap();
    let elsewhere = Canned::start(http("200 OK", "", "{}")).await;
    for status in
        ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let location = format!("location: {}/login?token=SECRET\r\n", elsewhere.url);
        let portal = Canned::start(http(status, &location, "")).await;
        let env = [("BCRLAPI_URL", portal.url.as_str()), ("AWS_SESSION_TOKEN", "TOKEN")];

        let output = run(&system, &["submit", "mock", "in.json"], &env).await;
        let to = format!("to {}/login; nothing was sent there", elsewhere.url);
        assert_said(&output, 3, &["answers with a redirect", &to, "next: "]);
        assert!(!stderr(&output).contains("SECRET"));
        assert!(portal.received().contains("TOKEN"), "the API itself is asked");
    }
    assert_eq!(elsewhere.received(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_or_a_proxy_in_the_place_of_the_api_is_named() {
    let system = System::start().await;
    let portal =
        Canned::start(http("200 OK", "content-type: text/html\r\n", "<html><title>Log in</title></html>")).await;
    let output = run(&system, &["lab"], &[("BCRLAPI_URL", &portal.url)]).await;
    assert_said(&output, 3, &["a web page with the title \"Log in\"", "next: "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_goes_on_after_a_request_that_nobody_answers_and_after_a_portal() {
    let system = System::start().await;
    let job = system.submit("mock", &json!({})).await;
    let api = Faults::start(system.stack().api_url()).await;
    let uuid = job.uuid.to_string();
    let mut wait = command(&system, &["wait", &uuid], &[("BCRLAPI_URL", api.url())]);
    let wait = Process::start(&mut wait, &system.path(""));
    until("the first look", async || (api.requests() >= 2).then_some(())).await.unwrap();

    api.first(1, Fate::Hang);
    let told = async || wait.log().contains("no whole answer within 10 s; trying again").then_some(());
    until("the wait to say so", told).await.unwrap();
    let again = async || wait.log().contains("the API answers again").then_some(());
    until("the wait to go on", again).await.unwrap();
    api.first(3, Fate::Answer(403, "<html>a login</html>"));
    let told = async || wait.log().contains("a web page").then_some(());
    until("the portal to be named", told).await.unwrap();

    system.finish(job.uuid, "{}").await;
    assert_eq!(wait.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_stopped_says_what_goes_on_and_what_to_do() {
    let system = System::start().await;
    let uuid = system.submit("mock", &json!({})).await.uuid.to_string();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let wait = Process::start(&mut command(&system, &["wait", &uuid], &[]), &system.path(""));
        let offline = async || wait.log().contains("the lab is offline").then_some(());
        until("the wait to have begun", offline).await.unwrap();
        kill_process(wait.pid(), signal).unwrap();
        let log = async || wait.log().contains("next: ").then(|| wait.log());
        let log = until("its last words", log).await.unwrap();
        assert!(log.contains(&format!("error: stopped; job {uuid} goes on")), "{log}");
        assert!(log.contains(&format!("next: bcrlapi wait {uuid}, or bcrlapi cancel {uuid}")), "{log}");
        assert_eq!(wait.wait().code(), Some(code));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_submit_that_may_have_arrived_is_said_to() {
    let system = System::start().await;
    fs::write(system.path("in.json"), "{}").unwrap();
    let submit = ["submit", "mock", "in.json", "--idempotency-key", "mine"];
    let nowhere = run(&system, &submit, &[("BCRLAPI_URL", "http://127.0.0.1:9")]).await;
    assert_said(&nowhere, 4, &["cannot reach 127.0.0.1:9: Connection refused", "next: is `bcrlapi-local up` running?"]);
    assert!(!stderr(&nowhere).contains("may have been submitted"));

    let api = Faults::start(system.stack().api_url()).await;
    api.always(Fate::LoseAnswer);
    let cut_off = Canned::start(http("504 Gateway Timeout", "", r#"{"message":"Endpoint request timed out"}"#)).await;
    let unknown = run(&system, &submit, &[("BCRLAPI_URL", &cut_off.url)]).await;
    assert_said(&unknown, 4, &["next: submit again with --idempotency-key mine"]);

    let lost = run(&system, &submit, &[("BCRLAPI_URL", api.url())]).await;
    assert_said(&lost, 4, &["may have been submitted anyway", "next: submit again with --idempotency-key mine"]);
    let again = run(&system, &submit, &[]).await;
    assert_said(&again, 0, &["already submitted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_the_problem_document_as_json_and_has_the_requests_id() {
    let system = System::start().await;
    let unknown = uuid::Uuid::now_v7().to_string();
    let output = run(&system, &["status", &unknown, "--json"], &[]).await;
    let problem: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(problem["status"], 404);
    let instance = problem["instance"].as_str().unwrap();
    assert_said(&output, 3, &["error: you have no job", &format!("request {instance})")]);

    let away = run(&system, &["status", &unknown, "--json"], &[("BCRLAPI_URL", "http://127.0.0.1:9")]).await;
    let problem: Value = serde_json::from_str(&stdout(&away)).unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("cannot reach 127.0.0.1:9"));
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_says_each_call_and_nothing_secret() {
    let system = System::start().await;
    let output = run(&system, &["list", "--verbose"], &[]).await;
    let said = stderr(&output);
    assert!(said.contains("/v1/jobs?limit=20") && said.contains("status=200 request_id="), "{said}");
    assert!(!said.contains(&system.alice().secret_access_key) && !said.contains("Signature="), "{said}");
    assert!(!said.contains('\u{1b}'), "no colours where nobody sees them: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_windows_has_touched_is_named() {
    let system = System::start().await;
    for name in ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "BCRLAPI_URL"] {
        let output = run(&system, &["lab"], &[(name, "value\r")]).await;
        assert_said(&output, 2, &[&format!("error: {name} contains a carriage return")]);
        let output = run(&system, &["lab"], &[(name, "\u{feff}value")]).await;
        assert_said(&output, 2, &[&format!("error: {name} contains a byte order mark")]);
    }
    let output = run(&system, &["lab", "--region", "eu-west-1\r"], &[]).await;
    assert_said(&output, 2, &["error: --region contains a carriage return"]);

    for program in ["bcrlapi-agent", "bcrlapi-worker", "bcrlapi-local"] {
        let output = Command::new(binary(program)).env("BCRLAPI_SHARED", "/shared\r").output().unwrap();
        assert!(stderr(&output).contains("error: BCRLAPI_SHARED contains a carriage return"), "{program}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_those_of_the_aws_cli() {
    let system = System::start().await;
    let alice = system.alice();
    let (key, secret) = (&alice.access_key_id, &alice.secret_access_key);
    let credentials = format!("[alice]\r\naws_access_key_id = {key}\r\naws_secret_access_key = {secret}\r\n");
    fs::write(system.path("credentials"), credentials).unwrap();
    let config = "[profile sso]\nsso_start_url = https://sso.example\nsso_region = eu-west-1\nsso_account_id = 123456789012\n\
                  sso_role_name = lab\n";
    fs::write(system.path("config"), config).unwrap();
    let (credentials, config) = (system.path("credentials"), system.path("config"));
    let files = [
        ("AWS_SHARED_CREDENTIALS_FILE", credentials.to_str().unwrap()),
        ("AWS_CONFIG_FILE", config.to_str().unwrap()),
        ("AWS_ACCESS_KEY_ID", "ASOMEBODYELSES"),
    ];
    let with = |env: &[(&'static str, &'static str)]| [&files, env].concat();

    assert_said(&run(&system, &["lab"], &files).await, 3, &["forbidden"]);
    assert_said(&run(&system, &["lab", "--profile", "alice"], &files).await, 0, &[]);
    let missing = run(&system, &["lab", "--profile", "nosuch"], &files).await;
    assert_said(&missing, 2, &["--profile names the profile \"nosuch\"", "there are: alice, sso"]);
    let missing = run(&system, &["lab"], &with(&[("AWS_PROFILE", "nosuch"), ("AWS_ACCESS_KEY_ID", "")])).await;
    assert_said(&missing, 2, &["AWS_PROFILE names the profile \"nosuch\""]);
    let expired = run(&system, &["lab", "--profile", "sso"], &with(&[("HOME", "/nowhere")])).await;
    assert_said(&expired, 2, &["next: aws sso login --profile sso"]);
}

/// A TLS server for `localhost` in front of this URL; gives its URL, and its certificate as PEM.
async fn with_tls(upstream_url: &str) -> (String, String) {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let config = tokio_rustls::rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let upstream = upstream_url.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let mut upstream = TcpStream::connect(&upstream).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut upstream).await;
            });
        }
    });
    (url, certified.cert.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_a_proxy_is_trusted_where_the_aws_cli_is_told_to() {
    let system = System::start().await;
    let (url, pem) = with_tls(system.stack().api_url()).await;
    fs::write(system.path("ca.pem"), pem).unwrap();
    let ca = system.path("ca.pem").display().to_string();

    let unknown = run(&system, &["lab"], &[("BCRLAPI_URL", &url)]).await;
    assert_said(&unknown, 4, &["certificate", "next: if your proxy inspects TLS, set AWS_CA_BUNDLE"]);
    assert_said(&run(&system, &["lab"], &[("BCRLAPI_URL", &url), ("AWS_CA_BUNDLE", &ca)]).await, 0, &[]);

    fs::write(system.path("config"), format!("[default]\nca_bundle = {ca}\n")).unwrap();
    let config = system.path("config").display().to_string();
    assert_said(
        &run(&system, &["lab"], &[("BCRLAPI_URL", &url), ("AWS_CONFIG_FILE", &config), ("AWS_CA_BUNDLE", "")]).await,
        0,
        &[],
    );
    fs::write(system.path("no.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let no_certificate = [("BCRLAPI_URL", url.as_str()), ("AWS_CA_BUNDLE", "no.pem")];
    let mut broken = command(&system, &["lab"], &no_certificate);
    broken.current_dir(system.path(""));
    let broken = tokio::task::spawn_blocking(move || broken.output().unwrap()).await.unwrap();
    assert_said(&broken, 2, &["cannot use the certificates of no.pem"]);
    let missing = run(&system, &["lab"], &[("BCRLAPI_URL", &url), ("AWS_CA_BUNDLE", "/no/such.pem")]).await;
    assert_said(&missing, 2, &["cannot use the certificates of /no/such.pem: No such file", "next: set AWS_CA_BUNDLE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_trusts_the_certificate_of_a_proxy_too() {
    let system = System::start().await;
    let (url, pem) = with_tls(&system.environment(bcrlapi_tests::DYNAMODB_URL)).await;
    fs::write(system.path("ca.pem"), pem).unwrap();
    let ca = system.path("ca.pem").display().to_string();
    let check = async |env: &[(&str, &str)]| {
        let mut check = system.command("bcrlapi-agent");
        check.arg("check").env(bcrlapi_tests::DYNAMODB_URL, &url).envs(env.iter().copied());
        let output = tokio::task::spawn_blocking(move || check.output().unwrap()).await.unwrap();
        let said = stdout(&output);
        said.lines().find(|line| line.contains(" table ")).unwrap().to_owned()
    };
    let trusted = check(&[("AWS_CA_BUNDLE", &ca)]).await;
    assert!(trusted.starts_with("ok"), "{trusted}");
    let unknown = check(&[]).await;
    assert!(unknown.starts_with("FAIL") && unknown.contains("AWS_CA_BUNDLE"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_cannot_be_written_whole_costs_no_older_file() {
    let system = System::start().await;
    let uuid = done(&system, &format!("[{}1]", "1, ".repeat(700_000))).await;
    let out = system.path("out.json");
    fs::write(&out, "yesterday's").unwrap();

    // A disk that is full, as far as the process can tell: no file may have more than a megabyte.
    let mut limited = other_command(&system, "sh");
    let script =
        format!("ulimit -f 1000; trap '' XFSZ; exec {} result {uuid} -o out.json", binary("bcrlapi").display());
    limited.args(["-c", &script]).current_dir(system.path(""));
    let full = tokio::task::spawn_blocking(move || limited.output().unwrap()).await.unwrap();
    assert_said(&full, 2, &["cannot be written", "File too large"]);
    assert_eq!(fs::read_to_string(&out).unwrap(), "yesterday's");
    assert_eq!(beside(&out), ["out.json"], "nothing is left of the half one");

    assert_said(&run(&system, &["result", &uuid, "-o", "out.json"], &[]).await, 0, &["2100003 bytes written"]);
    assert_eq!(fs::metadata(&out).unwrap().len(), 2_100_003);
}

/// The names beside a file that begin as it does, or that are hidden.
fn beside(file: &Path) -> Vec<String> {
    let names = fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| name.starts_with("out") || name.starts_with(".bcrlapi-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_not_what_was_sent_is_not_shown() {
    let system = System::start().await;
    let uuid = done(&system, "{}").await;
    let another = "content-digest: sha-256=:LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564=:\r\n";
    for digest in [another, "content-digest: sha-256=LCa0\r\n", "content-digest: sha-512=:AAAA:\r\n", ""] {
        let api = Canned::start(http("200 OK", digest, "\"evil\"")).await;
        let output = run(&system, &["result", &uuid], &[("BCRLAPI_URL", &api.url)]).await;
        assert_said(&output, 4, &["cannot trust the result", "next: fetch it again"]);
        assert_eq!(output.stdout, b"", "{digest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_takes_its_input_as_people_are_used_to() {
    let system = System::start().await;
    let (_agent, _worker) = (system.start_agent(), system.start_worker());
    fs::write(system.path("in.json"), "{}").unwrap();
    for input in [["in.json"].as_slice(), &["@in.json"], &["--input", "in.json"]] {
        let output = run(&system, &[&["submit", "mock"], input].concat(), &[]).await;
        assert_said(&output, 0, &["submitted"]);
        assert_eq!(stdout(&output).trim().len(), 36, "nothing but the uuid");
    }

    let waited = run(&system, &["submit", "mock", "in.json", "-o", "out.json", "--timeout", "1m"], &[]).await;
    assert_said(&waited, 0, &["bytes written to out.json"]);
    assert_eq!(stdout(&waited), "");
    assert!(serde_json::from_slice::<Value>(&fs::read(system.path("out.json")).unwrap()).is_ok());

    let empty = run(&system, &["submit", "mock"], &[]).await;
    assert_said(&empty, 2, &["standard input is empty"]);
    let inline = run(&system, &["submit", "mock", "{\"a\": 1}"], &[]).await;
    assert_said(&inline, 2, &["through standard input"]);
    let both = run(&system, &["submit", "mock", "in.json", "--input", "in.json"], &[]).await;
    assert_said(&both, 2, &["cannot be used with"]);
    let no_wait = run(&system, &["submit", "mock", "in.json", "--timeout", "1s"], &[]).await;
    assert_said(&no_wait, 2, &["--wait"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_result_cannot_go_is_said_before_the_job_is_submitted() {
    let system = System::start().await;
    fs::write(system.path("in.json"), "{}").unwrap();
    for output in ["/no/such/out.json", "."] {
        let refused = run(&system, &["submit", "mock", "in.json", "-o", output], &[]).await;
        assert_said(&refused, 2, &["cannot write "]);
        assert!(!stderr(&refused).contains("submitted"), "{output}");
    }

    let uuid = done(&system, "{}").await;
    let shown = run(&system, &["result", &uuid, "-o", "-"], &[]).await;
    assert_eq!(stdout(&shown), "{}", "- is standard output");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_environment_is_asked_by_agents_too() {
    let system = System::start().await;
    let proxy = Canned::start(http("407 Proxy Authentication Required", "", "")).await;
    let mut check = system.command("bcrlapi-agent");
    check.arg("check").env("HTTPS_PROXY", &proxy.url).env("NO_PROXY", "");
    check.env(bcrlapi_tests::DYNAMODB_URL, "https://dynamodb.example").env(bcrlapi_tests::S3_URL, "https://s3.example");
    tokio::task::spawn_blocking(move || check.output().unwrap()).await.unwrap();
    assert!(proxy.received().contains("CONNECT dynamodb.example:443"), "{}", proxy.received());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_to_a_shells_own_output_loses_nothing_of_it() {
    let system = System::start().await;
    let uuid = done(&system, "{}").await;
    for name in ["/dev/stdout", "/dev/fd/1", "-"] {
        let mut shell = other_command(&system, "sh");
        let script = "echo before >log; \"$0\" result \"$1\" -o \"$2\" >>log; cat log; rm log";
        shell.args(["-c", script]).arg(binary("bcrlapi")).args([&uuid, name]).current_dir(system.path(""));
        let output = tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap();
        assert_eq!(stdout(&output), "before\n{}", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_of_a_url_is_shown_and_no_region_makes_a_panic() {
    let system = System::start().await;
    for url in ["http://joe:SECRET@127.0.0.1:1", "http://127.0.0.1:1/?token=SECRET"] {
        let output = run(&system, &["lab", "--json", "--debug"], &[("BCRLAPI_URL", url)]).await;
        assert_said(&output, 2, &["not the URL of an API"]);
        assert!(!stderr(&output).contains("SECRET") && !stdout(&output).contains("SECRET"), "{url}");
    }
    for region in ["eu west", "東京", "a/b"] {
        let output = run(&system, &["lab", "--region", region], &[]).await;
        assert_said(&output, 2, &["is not the name of a region"]);
    }

    for (content, fault) in [(b"\xef\xbb\xbf[default]\n".as_slice(), "byte order mark"), (b"\xff\xfe[\0", "UTF-16")] {
        fs::write(system.path("config"), content).unwrap();
        let config = system.path("config").display().to_string();
        let output = run(&system, &["lab"], &[("AWS_CONFIG_FILE", &config)]).await;
        assert_said(&output, 2, &[&config, fault]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_stops_also_where_nobody_reads_what_it_writes() {
    let system = System::start().await;
    let uuid = done(&system, &format!("\"{}\"", "x".repeat(3_000_000))).await;
    let mut result = command(&system, &["result", &uuid], &[]);
    let mut result = result.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&result);
    let is_full =
        async || rustix::io::ioctl_fionread(result.stdout.as_ref().unwrap()).ok().filter(|bytes| *bytes >= 4096);
    until("it to wait for a reader", is_full).await.unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let status = tokio::task::spawn_blocking(move || result.wait().unwrap()).await.unwrap();
    assert!(!status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_most_often_wrong_first_is_named() {
    let system = System::start().await;
    let uuid = done(&system, "{}").await;
    let page = Canned::start(http("200 OK", "content-type: text/html\r\n", "<html></html>")).await;
    let output = run(&system, &["result", &uuid], &[("BCRLAPI_URL", &page.url)]).await;
    assert_said(&output, 3, &["a web page"]);

    let no_stage = Canned::start(http("403 Forbidden", "", r#"{"message":"Forbidden"}"#)).await;
    let output = run(&system, &["lab"], &[("BCRLAPI_URL", &no_stage.url)]).await;
    assert_said(&output, 3, &["next: check the URL: it may lack its stage"]);

    assert_said(&run(&system, &["lab"], &[("AWS_SECRET_ACCESS_KEY", "")]).await, 2, &["AWS_SECRET_ACCESS_KEY is not"]);
    assert_said(&run(&system, &["lab"], &[("BCRLAPI_URL", "")]).await, 2, &["no URL", ". .bcrlapi/env"]);
    fs::write(system.path("large.json"), format!("\"{}\"", "x".repeat(5_000_000))).unwrap();
    let large = run(&system, &["submit", "mock", "large.json"], &[]).await;
    assert_said(&large, 2, &["large.json has 5000002 bytes", "4 MiB"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_seen_enough_of_a_result_may_stop_reading() {
    let system = System::start().await;
    let uuid = done(&system, &format!("[{}]", vec![r#"{"a": 1}"#; 100_000].join(","))).await;
    for form in ["", "--csv"] {
        let mut head = other_command(&system, "bash");
        let script = format!("set -o pipefail; {} result {uuid} {form} | head -c 10", binary("bcrlapi").display());
        head.args(["-c", &script]);
        let output = tokio::task::spawn_blocking(move || head.output().unwrap()).await.unwrap();
        assert_said(&output, 0, &[]);
        assert_eq!(output.stdout.len(), 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_nothing_but_jobs_on_standard_output() {
    let system = System::start().await;
    let none = run(&system, &["list"], &[]).await;
    assert_said(&none, 0, &["no jobs found"]);
    assert_eq!(stdout(&none), "");
    for _ in 0..2 {
        system.submit("mock", &json!({})).await;
    }
    let one = run(&system, &["list", "--limit", "1"], &[]).await;
    assert_said(&one, 0, &["(more jobs; use --limit N)"]);
    assert_eq!(stdout(&one).lines().count(), 1);
    assert!(stdout(&one).lines().all(|line| line.len() < 80), "a terminal is 80 wide");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_for_excel_has_its_mark() {
    let system = System::start().await;
    let uuid = done(&system, r#"[{"電圧": 3.7, "note": "x;=1+1"}]"#).await;
    let output = run(&system, &["result", &uuid, "--excel"], &[]).await;
    assert_eq!(stdout(&output), "\u{feff}電圧,note\r\n3.7,\"x;'=1+1\"\r\n");
}

/// The most memory that the command has had resident, in KiB.
async fn peak_memory_kib(system: &System, arguments: &[&str]) -> u64 {
    const MEASURE: &str = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); \
                           print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    let mut measured = other_command(system, "python3");
    measured.args(["-c", MEASURE]).arg(binary("bcrlapi")).args(arguments).current_dir(system.path(""));
    let output = tokio::task::spawn_blocking(move || measured.output().unwrap()).await.unwrap();
    stdout(&output).trim().parse().unwrap_or_else(|_| panic!("{}", stderr(&output)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_takes_little_more_memory_than_a_small_one() {
    const ROWS: usize = 400_000;
    const MORE_KIB: u64 = 20 << 10;
    let system = System::start().await;
    let row = r#"{"time_s": 1.25, "note": "a row like all the others", "soc_percent": 80.0}"#;
    let small = done(&system, &format!("[{row}]")).await;
    let large = done(&system, &format!("[{}]", vec![row; ROWS].join(","))).await;

    for form in [["-o", "out.json"].as_slice(), &["--csv", "-o", "out.csv"]] {
        let of_small = peak_memory_kib(&system, &[&["result", &small], form].concat()).await;
        let of_large = peak_memory_kib(&system, &[&["result", &large], form].concat()).await;
        assert!(of_large < of_small + MORE_KIB, "{form:?}: {of_small} KiB, then {of_large} KiB");
    }
    assert_eq!(fs::read_to_string(system.path("out.csv")).unwrap().lines().count(), 1 + ROWS);
}
