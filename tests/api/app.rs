//! [`TestApp`]: the whole daemon on sockets of its own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderMap, HeaderName};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use jwksd::api::{Key, KeyState, Keyset, Problem, RotateResponse, TokenResponse};
use jwksd::client::{Client, ClientError};
use jwksd::clock::{Clock, ManualClock};
use jwksd::config::{Config, Listen};
use jwksd::http::connection::Timeouts;
use jwksd::listeners::Passed;
use jwksd::pool::{self, Pool};
use jwksd::server::{self, Daemon, Foundation, Opened, Sockets};
use jwksd::sink;
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::{MemoryRows, MemoryStore};
use jwksd_keystore::time::Time;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::openapi;

/// When the tests begin: 2026-11-22T03:00:00Z.
pub(crate) const START: Time = Time::from_millis(1_795_316_400_000);

pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const DAY: Duration = Duration::from_hours(24);

/// A + max(A, V) + S of the default configuration.
pub(crate) const PUBLISH_AHEAD: Duration = Duration::from_mins(5 + 24 * 60 + 1);

/// The key sets of most tests: one that rotates each month, quick to make keys for.
pub(crate) const KEYSETS: &str = r#"
[keysets.default]
algorithm = "ES256"
rotate = "0 3 1 * *"
issuer = "http://127.0.0.1:8080"
audience = "api.example.com"
max_token_ttl = "1h"
"#;

/// A key set like the usual one, of this name.
pub(crate) fn keyset_named(name: &str) -> String {
    KEYSETS.replace("default", name).replace(":8080\"", &format!(":8080/{name}\""))
}

/// The caller of most tests, who may do everything.
pub(crate) const CALLERS: &str = r#"
[[callers]]
name = "local"
uid = "self"
grants = [{ keyset = "*", actions = ["sign-token", "read", "rotate", "revoke", "import", "import-trust", "operate"] }]
"#;

/// The same caller with other actions, such as `"read", "rotate"`.
pub(crate) fn caller_of(actions: &str) -> String {
    format!(
        "\n[[callers]]\nname = \"local\"\nuid = \"self\"\n\
         grants = [{{ keyset = \"*\", actions = [{actions}] }}]\n"
    )
}

pub(crate) struct TestApp {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) rows: MemoryRows,
    pub(crate) daemon: Running,
    dir: tempfile::TempDir,
    pub(crate) master_keys: Arc<MasterKeys>,
    timeouts: Timeouts,
    sink: sink::Means,
}

/// The daemon, with its listeners driven.
pub(crate) struct Running {
    pub(crate) administration: Arc<jwksd::administration::Administration>,
    handles: Vec<actix_web::dev::ServerHandle>,
    rotator: Option<std::thread::JoinHandle<()>>,
    pub(crate) pool: Pool,
    pool_ends: pool::Ends,
    pub(crate) public: Listen,
    pub(crate) internal: Listen,
    pub(crate) admin: Listen,
    /// The same listeners over TCP, for callers with a bearer token.
    pub(crate) internal_tcp: Listen,
    pub(crate) admin_tcp: Listen,
    pub(crate) metrics: Listen,
    kept: Option<Box<dyn std::any::Any>>,
}

/// A listener that knows its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Internal,
    Admin,
}

/// An answer of a listener.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl TestApp {
    /// The daemon with the usual key set and caller.
    pub(crate) async fn start() -> Self {
        Self::with(KEYSETS, CALLERS).await
    }

    /// The daemon with these key sets and callers.
    pub(crate) async fn with(keysets: &str, callers: &str) -> Self {
        Self::with_timeouts(keysets, callers, Timeouts::default()).await
    }

    /// The daemon with these key sets and callers, and this patience with its peers.
    pub(crate) async fn with_timeouts(keysets: &str, callers: &str, timeouts: Timeouts) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::with_all(dir, keysets, callers, timeouts, sink::Means::default()).await
    }

    /// The daemon with these key sets, with the usual caller, in this folder, which keeps its files
    /// by these means.
    pub(crate) async fn with_files(
        dir: tempfile::TempDir,
        keysets: &str,
        sink: sink::Means,
    ) -> Self {
        Self::with_all(dir, keysets, CALLERS, Timeouts::default(), sink).await
    }

    async fn with_all(
        dir: tempfile::TempDir,
        keysets: &str,
        callers: &str,
        timeouts: Timeouts,
        sink: sink::Means,
    ) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let rows = MemoryRows::default();
        let master_key = MasterKeys::generate_file().unwrap();
        let master_keys = Arc::new(MasterKeys::parse(&master_key).unwrap());
        write_secret(&dir.path().join("master.key"), &master_key);
        write_config(dir.path(), keysets, callers);
        let daemon =
            daemon(dir.path(), &clock, &rows, &master_keys, timeouts, sink.clone()).unwrap();
        let daemon = Running::drive(daemon).await;
        Self { clock, rows, daemon, dir, master_keys, timeouts, sink }
    }

    /// A second daemon on the same folder, store and clock, for whoever drives it.
    pub(crate) async fn hand_over(mut self) -> (Daemon, Self) {
        self.daemon.stop().await;
        (self.another_daemon().unwrap(), self)
    }

    /// Writes the configuration anew, without telling the daemon.
    pub(crate) fn configure(&self, keysets: &str, callers: &str) {
        write_config(self.dir.path(), keysets, callers);
    }

    /// Changes the configuration in one place, without telling the daemon.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let path = self.dir.path().join("config.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        assert!(config.contains(from), "{from} is not in the configuration");
        std::fs::write(path, config.replacen(from, to, 1)).unwrap();
    }

    /// Stops the daemon, lets `down` pass, and starts it on the same store.
    pub(crate) async fn restart_after(&mut self, down: Duration) {
        self.daemon.stop().await;
        self.clock.advance(down);
        self.daemon = Running::drive(self.another_daemon().unwrap()).await;
    }

    /// Starts a daemon on the same folder, store and clock, whose listeners nobody drives yet.
    fn another_daemon(&self) -> Result<Daemon, String> {
        let sink = self.sink.clone();
        daemon(self.dir.path(), &self.clock, &self.rows, &self.master_keys, self.timeouts, sink)
    }

    /// Opens what a daemon that was stopped would serve; nothing listens.
    pub(crate) fn open(&self) -> Opened {
        let config_path = self.dir.path().join("config.toml");
        let config = Config::load(&config_path, self.clock.wall()).unwrap();
        let store = MemoryStore::open(self.rows.clone(), self.master_keys.clone()).unwrap();
        let (clock, store) = (self.clock.clone(), Arc::new(store));
        let (keys, sink) = (self.master_keys.clone(), self.sink.clone());
        server::open(config, config_path, clock, store, keys, sink).unwrap()
    }

    /// Kills the daemon: it records nothing more. Then lets `down` pass and starts it on the same
    /// store.
    pub(crate) async fn crash_and_restart_after(&mut self, down: Duration) {
        self.daemon.crash().await;
        self.restart_after(down).await;
    }

    /// Stops the daemon and lets `down` pass.
    pub(crate) async fn daemon_down(&mut self, down: Duration) {
        self.daemon.stop().await;
        self.clock.advance(down);
    }

    /// Restarts the daemon with an audit on a disk that is full.
    pub(crate) async fn restart_with_a_full_audit(&mut self) {
        let path = self.dir.path().join("config.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let audit = self.audit_path().display().to_string();
        std::fs::write(&path, text.replace(&audit, "/dev/full")).unwrap();
        self.restart_after(Duration::ZERO).await;
    }

    /// Stops the daemon and tries to start it; returns why it does not.
    pub(crate) async fn restart_fails(&mut self) -> String {
        self.daemon.stop().await;
        self.another_daemon().err().expect("it starts")
    }

    /// Lets time pass and the rotator do what is due at the end.
    pub(crate) async fn advance(&self, span: Duration) {
        self.clock.advance(span);
        self.settle().await;
    }

    pub(crate) async fn settle(&self) {
        let administration = self.daemon.administration.clone();
        let settle = move || {
            administration.rotator.settle();
            administration.incidents.settle();
        };
        tokio::task::spawn_blocking(settle).await.unwrap();
    }

    /// Serves nothing from now on.
    pub(crate) async fn fall_silent(&self) {
        self.daemon.administration.rotator.not_serving();
        self.settle().await;
    }

    /// Serves again.
    pub(crate) async fn serve_again(&self) {
        let administration = &self.daemon.administration;
        administration.rotator.serving(administration.clock.now().lifecycle);
        self.settle().await;
    }

    /// Has the next commit take so long.
    pub(crate) fn slow_commit(&self, span: Duration) {
        let clock = self.clock.clone();
        self.rows.before_next_write(move || clock.advance(span));
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.wall()
    }

    pub(crate) fn master_key_path(&self) -> PathBuf {
        self.dir.path().join("master.key")
    }

    pub(crate) fn audit_path(&self) -> PathBuf {
        self.dir.path().join("audit.jsonl")
    }

    /// The audit's lines.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.audit_path()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    // --- the internal listener

    pub(crate) async fn sign(&self, keyset: &str) -> TokenResponse {
        self.try_sign(keyset, json!({"claims": {"sub": "123"}, "ttl": "15m"})).await.unwrap()
    }

    pub(crate) async fn try_sign(
        &self,
        keyset: &str,
        body: Value,
    ) -> Result<TokenResponse, Problem> {
        let path = format!("/v1/keysets/{keyset}/tokens");
        let client = Client::new(self.daemon.internal.clone(), None);
        problem_of(To::Internal, &Method::POST, &path, client.post(&path, &body).await)
    }

    /// A request of raw bytes to the internal listener.
    pub(crate) async fn post_bytes(&self, path: &str, body: Vec<u8>) -> Answer {
        post(self.internal(), path, body).await
    }

    /// A request to the socket of a listener.
    pub(crate) async fn ask(
        &self,
        to: To,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: &[u8],
    ) -> Answer {
        let stream = tokio::net::UnixStream::connect(self.socket(to)).await.unwrap();
        let answer = send(stream, method.clone(), path, headers, body.to_vec()).await;
        if answer.header("content-type") == "application/problem+json"
            && let Ok(problem) = serde_json::from_slice(&answer.body)
        {
            openapi::check(to, &method, path, &problem);
        }
        answer
    }

    /// What a listener answers to these bytes until it closes the connection.
    pub(crate) async fn ask_bytes(&self, to: To, bytes: &[u8]) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::UnixStream::connect(self.socket(to)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    fn socket(&self, to: To) -> PathBuf {
        let place = match to {
            To::Internal => &self.daemon.internal,
            To::Admin => &self.daemon.admin,
        };
        let Listen::Unix(socket) = place else { panic!("not a socket") };
        socket.clone()
    }

    /// The socket of the internal listener.
    pub(crate) fn internal(&self) -> PathBuf {
        self.socket(To::Internal)
    }

    // --- the admin listener

    pub(crate) async fn admin_get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        let client = Client::new(self.daemon.admin.clone(), None);
        problem_of(To::Admin, &Method::GET, path, client.get(path).await)
    }

    pub(crate) async fn admin_post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: impl Serialize,
    ) -> Result<T, Problem> {
        let client = Client::new(self.daemon.admin.clone(), None);
        problem_of(To::Admin, &Method::POST, path, client.post(path, &body).await)
    }

    pub(crate) async fn show(&self, keyset: &str) -> Keyset {
        self.admin_get(&format!("/v1/keysets/{keyset}")).await.unwrap()
    }

    /// The kid of the only key in a state.
    pub(crate) async fn kid(&self, state: KeyState) -> String {
        self.key(state).await.kid.to_string()
    }

    /// The kids of the key that signs, and of the one that signs next.
    pub(crate) async fn active_and_standby(&self) -> (String, String) {
        (self.kid(KeyState::Active).await, self.kid(KeyState::Pending).await)
    }

    pub(crate) async fn key(&self, state: KeyState) -> Key {
        let keys = self.show("default").await.keys;
        let mut matching = keys.into_iter().filter(|key| key.state == state);
        let key = matching.next().unwrap_or_else(|| panic!("no key is {state:?}"));
        assert!(matching.next().is_none(), "several keys are {state:?}");
        key
    }

    pub(crate) async fn rotate(&self, body: Value) -> Result<RotateResponse, Problem> {
        let answer = self.admin_post("/v1/keysets/default/rotate", body).await;
        self.settle().await;
        answer
    }

    pub(crate) async fn revoke<T: DeserializeOwned>(&self, kid: &str) -> Result<T, Problem> {
        let path = format!("/v1/keysets/default/keys/{kid}/revoke");
        let answer = self.admin_post(&path, json!({"reason": "stolen"})).await;
        self.settle().await;
        answer
    }

    pub(crate) async fn revoke_all<T: DeserializeOwned>(&self, body: Value) -> Result<T, Problem> {
        let answer = self.admin_post("/v1/keysets/default/revoke-all", body).await;
        self.settle().await;
        answer
    }

    // --- the listener for metrics

    /// What a path of it answers.
    pub(crate) async fn watch(&self, path: &str) -> Answer {
        send_to(&self.daemon.metrics, Method::GET, path, &[], Vec::new()).await
    }

    /// The socket of the listener for metrics.
    pub(crate) fn metrics_socket(&self) -> PathBuf {
        self.dir.path().join("metrics.sock")
    }

    // --- the public listener

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.fetch(Method::GET, path, &[]).await
    }

    pub(crate) async fn fetch(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
    ) -> Answer {
        send_to(&self.daemon.public, method, path, headers, Vec::new()).await
    }

    /// The kids in the served set of the default key set.
    pub(crate) async fn served_kids(&self) -> Vec<String> {
        let set = self.get("/.well-known/jwks.json").await.json();
        let keys = set["keys"].as_array().unwrap();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }
}

impl Running {
    /// Drives the listeners.
    async fn drive(daemon: Daemon) -> Self {
        let administration = daemon.administration.clone();
        let places = daemon.places.clone();
        let handles = daemon.handles();
        let pool = daemon.pool.clone();
        let (servers, rotator, pool_ends, kept) = daemon.into_parts();
        for server in servers {
            actix_web::rt::spawn(server);
        }
        // As many as a start of the thread pool takes; the sockets accept from now on.
        tokio::task::yield_now().await;
        let first = |places: &[Listen]| places[0].clone();
        let tcp = |places: &[Listen]| {
            let is_tcp = |place: &&Listen| matches!(place, Listen::Tcp(_));
            places.iter().find(is_tcp).unwrap().clone()
        };
        Self {
            administration,
            handles,
            rotator: Some(rotator),
            public: first(&places.public),
            internal: first(&places.internal),
            admin: first(&places.admin),
            internal_tcp: tcp(&places.internal),
            admin_tcp: tcp(&places.admin),
            metrics: first(&places.metrics),
            kept: Some(Box::new(kept)),
            pool,
            pool_ends,
        }
    }

    pub(crate) fn public_place(&self) -> &Listen {
        &self.public
    }

    async fn stop(&mut self) {
        self.administration.rotator.not_serving();
        self.crash().await;
    }

    async fn crash(&mut self) {
        for handle in self.handles.drain(..) {
            handle.stop(false).await;
        }
        self.pool.stop();
        while self.pool_ends.recv().await.is_some() {}
        self.administration.rotator.stop();
        if let Some(rotator) = self.rotator.take() {
            tokio::task::spawn_blocking(move || rotator.join()).await.unwrap().unwrap();
        }
        self.kept = None;
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("cache-control"), "no-store");
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Starts a daemon whose listeners nobody drives yet.
fn daemon(
    dir: &Path,
    clock: &Arc<ManualClock>,
    rows: &MemoryRows,
    master_keys: &Arc<MasterKeys>,
    timeouts: Timeouts,
    sink: sink::Means,
) -> Result<Daemon, String> {
    let config_path = dir.join("config.toml");
    let config = Config::load(&config_path, clock.wall()).map_err(|error| error.to_string())?;
    let sockets = Sockets::bind(&config, Passed::default()).map_err(|error| error.to_string())?;
    let store =
        MemoryStore::open(rows.clone(), master_keys.clone()).map_err(|error| error.to_string())?;
    let foundation = Foundation {
        config,
        config_path,
        clock: clock.clone(),
        store: Arc::new(store),
        master_keys: master_keys.clone(),
        sockets,
        timeouts,
        sink,
    };
    server::start(foundation).map_err(|error| error.to_string())
}

/// For its owner alone.
pub(crate) fn write_secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn write_config(dir: &Path, keysets: &str, callers: &str) {
    let dir_text = dir.display();
    let text = format!(
        r#"
        [store]
        path = "{dir_text}/store"
        master_key = "{dir_text}/master.key"
        [audit]
        path = "{dir_text}/audit.jsonl"
        [public]
        listen = "127.0.0.1:0"
        base_url = "http://127.0.0.1:8080"
        root = "default"
        [internal]
        listen = ["unix:{dir_text}/sign.sock", "127.0.0.1:0"]
        [admin]
        listen = ["unix:{dir_text}/admin.sock", "127.0.0.1:0"]
        [metrics]
        listen = ["127.0.0.1:0", "unix:{dir_text}/metrics.sock"]
        {keysets}
        {callers}
        "#
    );
    std::fs::write(dir.join("config.toml"), text).unwrap();
}

fn problem_of<T>(
    to: To,
    method: &Method,
    path: &str,
    answer: Result<T, ClientError>,
) -> Result<T, Problem> {
    answer.map_err(|error| match error {
        ClientError::Problem(problem) => {
            openapi::check(to, method, path, &problem);
            *problem
        }
        other => panic!("{other}"),
    })
}

/// A request of raw bytes to the socket of the internal listener. Dropped, it hangs up.
pub(crate) async fn post(socket: PathBuf, path: &str, body: Vec<u8>) -> Answer {
    let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let answer = send(stream, Method::POST, path, &[], body).await;
    if !answer.status.is_success() {
        openapi::check(To::Internal, &Method::POST, path, &answer.problem());
    }
    answer
}

/// A request to a TCP address, over a connection of its own.
pub(crate) async fn send_to(
    place: &Listen,
    method: Method,
    path: &str,
    headers: &[(HeaderName, &str)],
    body: Vec<u8>,
) -> Answer {
    let Listen::Tcp(address) = place else { panic!("not an address") };
    send(TcpStream::connect(address).await.unwrap(), method, path, headers, body).await
}

async fn send<S>(
    stream: S,
    method: Method,
    path: &str,
    headers: &[(HeaderName, &str)],
    body: Vec<u8>,
) -> Answer
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    if headers.iter().all(|(name, _)| name != HOST) {
        request = request.header(HOST, "localhost");
    }
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}
