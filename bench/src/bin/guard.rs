//! `guard WHAT COUNT`: makes the same request so many times of a whole daemon in this process, for
//! `bench/guard`, which counts the instructions of the threads by callgrind.
//!
//! The daemon is the one that ships: its listeners, store, audit and clock, in a temporary folder.
//! The requests come from the main thread over one connection, so whatever that costs is not in the
//! count of the thread that answers.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use anyhow::{Context, anyhow, bail, ensure};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, Signature,
};
use jwksd::clock::{Clock, SystemClock};
use jwksd::config::{Config, Listen};
use jwksd::http::connection::Timeouts;
use jwksd::listeners::Passed;
use jwksd::log::{self, Reader};
use jwksd::server::{self, Daemon, Foundation, Places, Sockets};
use jwksd::sink;
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::SledStore;

/// The length of what is signed for [`CLAIMS`], header and payload in base64.
const MESSAGE: usize = 340;

/// A request like that of a service on behalf of a user.
const CLAIMS: &str = r#"{"claims":{"sub":"3f1c9e52-user","scope":"orders:read orders:write","tenant":"acme"},"ttl":"15m"}"#;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [what, count] = arguments.as_slice() else { bail!("usage: guard WHAT COUNT") };
    let count = count.parse().context("COUNT")?;
    match what.as_str() {
        "raw-es256" => raw_es256(count),
        "raw-eddsa" => raw_eddsa(count),
        "token-es256" => tokens("es256", count),
        "token-eddsa" => tokens("eddsa", count),
        "jwks-200" => sets(count, |_| String::new()),
        "jwks-304" => sets(count, |etag| format!("if-none-match: {etag}\r\n")),
        _ => bail!("there is no {what}"),
    }
}

/// What the library takes for the signature alone.
fn raw_es256(count: usize) -> anyhow::Result<()> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let random = SystemRandom::new();
    sign_by_a_thread(count, || pair.sign(&random, &[b'a'; MESSAGE]))
}

fn raw_eddsa(count: usize) -> anyhow::Result<()> {
    let pair = Ed25519KeyPair::generate()?;
    sign_by_a_thread(count, || pair.try_sign(&[b'a'; MESSAGE]))
}

/// The thread that made the key gathered entropy for it, which takes now more and now less.
fn sign_by_a_thread(
    count: usize,
    sign: impl Fn() -> Result<Signature, Unspecified> + Sync,
) -> anyhow::Result<()> {
    let all = || (0..count).try_for_each(|_| sign().map(drop));
    let signed = thread::scope(|threads| threads.spawn(all).join());
    Ok(signed.map_err(|_| anyhow!("it panicked"))??)
}

/// Tokens over the Unix socket.
fn tokens(keyset: &str, count: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let places = serve(folder.path())?;
    let [Listen::Unix(socket)] = places.internal.as_slice() else { bail!("no socket") };
    let request = format!(
        "POST /v1/keysets/{keyset}/tokens HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{CLAIMS}",
        CLAIMS.len()
    );
    let mut caller = Peer::new(UnixStream::connect(socket)?);
    for _ in 0..count {
        let answer = caller.ask(&request)?;
        ensure!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"token\""), "{answer}");
    }
    Ok(())
}

/// The JWK Set over TCP, as a verifier fetches it.
fn sets(count: usize, condition: impl Fn(&str) -> String) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let places = serve(folder.path())?;
    let [Listen::Tcp(address)] = places.public.as_slice() else { bail!("no address") };
    let mut verifier = Peer::new(TcpStream::connect(address)?);
    let request = |more: &str| {
        format!(
            "GET /.well-known/jwks.json HTTP/1.1\r\nhost: localhost:8080\r\n\
             accept: application/json\r\nuser-agent: verifier/1.0\r\n{more}\r\n"
        )
    };
    let etag = header(verifier.ask(&request(""))?, "etag").context("no etag")?.to_owned();
    let request = request(&condition(&etag));
    let status = if request.contains("if-none-match") { "HTTP/1.1 304" } else { "HTTP/1.1 200" };
    for _ in 0..count {
        let answer = verifier.ask(&request)?;
        ensure!(answer.starts_with(status), "{answer}");
    }
    Ok(())
}

/// Starts a daemon with a new store in `folder`, which serves as long as this process lives.
fn serve(folder: &Path) -> anyhow::Result<Places> {
    let config_path = folder.join("config.toml");
    fs::write(&config_path, config(folder))?;
    let config = Config::load(&config_path, SystemClock.wall())?;
    log::begin(config.log, Reader::Other, None);
    let master_key = MasterKeys::generate_file()?;
    fs::write(&config.store.master_key, &master_key)?;
    fs::set_permissions(&config.store.master_key, fs::Permissions::from_mode(0o600))?;
    let master_keys = Arc::new(MasterKeys::parse(&master_key)?);
    let store = SledStore::create(&config.store.path, master_keys.clone())?;
    let sockets = Sockets::bind(&config, Passed::default())?;
    let foundation = Foundation {
        config,
        config_path,
        clock: Arc::new(SystemClock),
        store: Arc::new(store),
        master_keys,
        sockets,
        timeouts: Timeouts::default(),
        sink: sink::Means::default(),
    };
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let started = server::start(foundation);
            match started {
                Ok(daemon) => drive(daemon, &tell).await,
                Err(error) => drop(tell.send(Err(error))),
            }
        });
    });
    Ok(told.recv()??)
}

async fn drive(daemon: Daemon, tell: &mpsc::Sender<Result<Places, server::StartError>>) {
    let places = daemon.places.clone();
    let (servers, _rotator, _pool_ends, _kept) = daemon.into_parts();
    // The sockets listen already: who connects before the workers take over waits for them.
    if tell.send(Ok(places)).is_ok() {
        for server in servers.into_iter().map(actix_web::rt::spawn).collect::<Vec<_>>() {
            let _ = server.await;
        }
    }
}

fn config(folder: &Path) -> String {
    let folder = folder.display();
    let keyset = |name: &str, algorithm: &str| {
        format!(
            "[keysets.{name}]\nalgorithm = \"{algorithm}\"\nrotate = \"0 3 1 * *\"\n\
             issuer = \"https://{name}.example.com\"\naudience = \"api.example.com\"\n\
             max_token_ttl = \"1h\"\n"
        )
    };
    let store =
        format!("[store]\npath = \"{folder}/store\"\nmaster_key = \"{folder}/master.key\"\n");
    let listeners = format!(
        "[audit]\npath = \"{folder}/audit.jsonl\"\n\
         [public]\nlisten = \"127.0.0.1:0\"\nbase_url = \"http://127.0.0.1:8080\"\n\
         root = \"es256\"\n\
         [internal]\nlisten = \"unix:{folder}/sign.sock\"\n\
         [admin]\nlisten = \"unix:{folder}/admin.sock\"\n"
    );
    let callers = "[[callers]]\nname = \"local\"\nuid = \"self\"\n\
                   grants = [{ keyset = \"*\", actions = [\"sign-token\"] }]\n";
    [&store, &listeners, &*keyset("es256", "ES256"), &*keyset("eddsa", "EdDSA"), callers].concat()
}

/// A connection that asks one thing after the other.
struct Peer<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: Read + Write> Peer<S> {
    fn new(stream: S) -> Self {
        Self { stream, buffer: vec![0; 64 * 1024] }
    }

    /// The answer to a request, head and body.
    fn ask(&mut self, request: &str) -> anyhow::Result<&str> {
        self.stream.write_all(request.as_bytes())?;
        let mut length = 0;
        while !is_whole(&self.buffer[..length]) {
            match self.stream.read(&mut self.buffer[length..])? {
                0 => bail!("the connection ended"),
                more => length += more,
            }
        }
        Ok(std::str::from_utf8(&self.buffer[..length])?)
    }
}

/// Whether an answer is there, as far as its head says how long it is.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = header(head, "content-length").and_then(|length| length.parse::<usize>().ok());
    head.starts_with("HTTP/1.1 304") || length.is_some_and(|length| body.len() >= length)
}

/// What a head says under a name, in whatever letters it is written.
fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let lines = answer.lines().take_while(|line| !line.is_empty());
    let mut members = lines.filter_map(|line| line.split_once(": "));
    members.find(|(member, _)| member.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
