//! The daemon in this process, with a manual clock and a store in memory. Its listeners are asked over
//! loopback TCP.

use std::any::Any;
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::rt::{System, SystemRunner};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HeaderMap, HeaderName};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use jwksd::administration::Administration;
use jwksd::clock::{Clock, ManualClock};
use jwksd::config::{Config, Listen};
use jwksd::custody::{Asker, Custody};
use jwksd::http::connection::Timeouts;
use jwksd::limits::Desk;
use jwksd::listeners::Passed;
use jwksd::pool::Pool;
use jwksd::server::{self, Foundation, Places, Sockets};
use jwksd_keystore::crypto;
use jwksd_keystore::store::{MemoryRows, MemoryStore};
use jwksd_keystore::time::Time;
use tokio::net::TcpStream;

use super::sealed::master_keys;

/// When each daemon begins: 2026-11-22T03:00:00Z.
const START: Time = Time::from_millis(1_795_316_400_000);

/// The key sets, of an algorithm whose keys are made at once.
pub const KEYSETS: &str = r#"
[keysets.default]
algorithm = "EdDSA"
rotate = "0 3 1 * *"
issuer = "http://127.0.0.1:8080"
audience = "api.example.com"
max_token_ttl = "1h"
[keysets.other]
algorithm = "EdDSA"
rotate = "manual"
issuer = "http://127.0.0.1:8080/other"
audience = ["one", "two"]
max_token_ttl = "1d"
token_types = ["JWT", "at+jwt", "secevent+jwt"]
"#;

/// The callers by name, and what each may do. The bearer token of each is made of its name.
const CALLERS: [(&str, &str); 4] = [
    (
        "all",
        r#"{ keyset = "*", actions = ["sign-token", "read", "rotate", "revoke", "import", "import-trust", "operate"] }"#,
    ),
    ("signer", r#"{ keyset = "default", actions = ["sign-token"] }"#),
    (
        "narrow",
        r#"{ keyset = "*", actions = ["sign-token"], max_ttl = "5m", token_types = ["JWT"], audiences = ["api.example.com", "one", "two"], force = { tenant = "a", level = 1.5 } }"#,
    ),
    ("reader", r#"{ keyset = "o*", actions = ["read"] }"#),
];

/// One of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// For everyone.
    Public,
    /// For callers.
    Internal,
    /// For admins.
    Admin,
}

/// How much later each input comes than the one before: no known caller is to reach a limit.
const BETWEEN: Duration = Duration::from_millis(100);

/// A daemon of this thread.
pub struct Daemon {
    /// What callers may ask for.
    pub custody: Arc<Custody>,
    /// Moves when told.
    pub clock: Arc<ManualClock>,
    /// Can be told to fail.
    pub rows: MemoryRows,
    administration: Arc<Administration>,
    pool: Pool,
    places: [Listen; 3],
    connections: RefCell<[Option<SendRequest<Full<Bytes>>>; 3]>,
    rotator: Option<JoinHandle<()>>,
    kept: Option<Box<dyn Any>>,
    dir: tempfile::TempDir,
    system: SystemRunner,
}

/// What a listener answered.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Whether a daemon can be asked on after an input, and inputs still pass or fail as they would alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing but tokens was asked for.
    AsBefore,
    /// It has other keys, another configuration, or another time.
    Changed,
}

thread_local! {
    // Not dropped with the thread: the runtime in it needs other values of the thread.
    static KEPT: RefCell<ManuallyDrop<Option<Daemon>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Calls `ask` with the daemon of this thread.
pub fn with(ask: impl FnOnce(&Daemon) -> After) {
    let after = KEPT.with_borrow_mut(|kept| {
        let daemon = kept.get_or_insert_with(Daemon::start);
        daemon.clock.advance(BETWEEN);
        ask(daemon)
    });
    if after == After::Changed {
        stop();
    }
}

/// Stops the daemon of this thread, if there is one.
pub fn stop() {
    KEPT.with_borrow_mut(|kept| drop(kept.take()));
}

/// The bearer token of a caller.
pub fn bearer_token(caller: &str) -> String {
    format!("jwksd_token-of-{caller}")
}

impl Daemon {
    fn start() -> Self {
        let (system, dir) = (System::new(), tempfile::tempdir().unwrap());
        write_config(dir.path(), KEYSETS);
        let (clock, rows) = (Arc::new(ManualClock::new(START)), MemoryRows::default());
        let master_keys = Arc::new(master_keys(3));
        let store = Arc::new(MemoryStore::open(rows.clone(), master_keys.clone()).unwrap());
        let config_path = dir.path().join("config.toml");
        let config = Config::load(&config_path, clock.wall()).unwrap();
        let sockets = Sockets::bind(&config, Passed::default()).unwrap();
        let started = system.block_on(async {
            server::start(Foundation {
                config,
                config_path,
                clock: clock.clone(),
                store,
                master_keys,
                sockets,
                timeouts: Timeouts::default(),
                sink: jwksd::sink::Means::default(),
            })
        });
        let daemon = started.unwrap();
        let (custody, administration) = (daemon.custody.clone(), daemon.administration.clone());
        let pool = daemon.pool.clone();
        let Places { public, internal, admin, .. } = daemon.places.clone();
        let places = [public, internal, admin].map(|places| places[0].clone());
        let (servers, rotator, _ends, kept) = daemon.into_parts();
        system.block_on(async {
            for server in servers {
                actix_web::rt::spawn(server);
            }
        });
        Self {
            custody,
            clock,
            rows,
            administration,
            pool,
            places,
            connections: RefCell::default(),
            rotator: Some(rotator),
            kept: Some(Box::new(kept)),
            dir,
            system,
        }
    }

    /// What a listener answers.
    pub fn ask(&self, listener: Listener, request: &Request<Full<Bytes>>) -> Answer {
        // The daemon ends connections when it likes; so does a panic in it.
        let mut tries = (0..3).filter_map(|_| self.system.block_on(self.answer(listener, request)));
        tries.next().expect("an answer")
    }

    async fn answer(&self, listener: Listener, request: &Request<Full<Bytes>>) -> Option<Answer> {
        let index = listener as usize;
        let kept = self.connections.borrow_mut()[index].take();
        let mut connection = match kept.filter(|kept| !kept.is_closed()) {
            Some(kept) => kept,
            None => connected(&self.places[index]).await,
        };
        connection.ready().await.ok()?;
        let (head, body) = connection.send_request(request.clone()).await.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        self.connections.borrow_mut()[index] = Some(connection);
        Some(Answer { status: head.status, headers: head.headers, body })
    }

    /// A caller, with a request.
    pub fn asker(&self, caller: &str) -> Asker {
        let caller = self.custody.caller_by_token(&bearer_token(caller)).unwrap();
        self.custody.begin(caller, Desk::Internal, "request".to_owned()).unwrap()
    }

    /// Lets time pass and the rotator do what is due at the end.
    pub fn advance(&self, span: Duration) {
        self.clock.advance(span);
        self.settle();
    }

    /// Waits for the rotator.
    pub fn settle(&self) {
        self.administration.rotator.settle();
    }

    /// Writes the configuration anew, without telling the daemon.
    pub fn configure_anew(&self, keysets: &str) {
        write_config(self.dir.path(), keysets);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.rows.set_failing(false);
        self.pool.stop();
        self.administration.rotator.stop();
        if let Some(rotator) = self.rotator.take() {
            let ended = rotator.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the rotator panicked");
        }
        self.kept = None;
    }
}

impl Answer {
    /// A header, empty if it is not there.
    pub fn header(&self, name: HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The listener at a place.
async fn connected(place: &Listen) -> SendRequest<Full<Bytes>> {
    let Listen::Tcp(address) = place else { panic!("{place} is not TCP") };
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn write_config(dir: &Path, keysets: &str) {
    let dir_text = dir.display();
    let mut text = format!(
        r#"
        [limits]
        requests_per_second = 1000000
        burst = 1000000
        [store]
        path = "{dir_text}/store"
        master_key = "{dir_text}/master.key"
        [audit]
        path = "/dev/null"
        [public]
        listen = "127.0.0.1:0"
        base_url = "http://127.0.0.1:8080"
        root = "default"
        [internal]
        listen = "127.0.0.1:0"
        [admin]
        listen = "127.0.0.1:0"
        "#
    );
    for (name, grant) in CALLERS {
        let digest = crypto::hex(&crypto::sha256(bearer_token(name).as_bytes()));
        text += &format!(
            "[[callers]]\nname = \"{name}\"\ntoken_sha256 = \"{digest}\"\ngrants = [{grant}]\n"
        );
    }
    std::fs::write(dir.join("config.toml"), text + keysets).unwrap();
}
