//! A folder with a configuration, in which `jwksd` is run.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::output::Output;

/// Two quick key sets, and a caller who may do everything. Port 0: the daemon says what it got.
const CONFIG: &str = r#"
[store]
path = "data/store"
master_key = "data/master.key"

[public]
listen = "127.0.0.1:0"
base_url = "http://127.0.0.1:8080"
root = "default"

[internal]
listen = "unix:data/sign.sock"

[admin]
listen = "unix:data/admin.sock"

[keysets.default]
algorithm = "ES256"
rotate = "0 3 1 * *"
time_zone = "UTC"
issuer = "http://127.0.0.1:8080"
max_token_ttl = "1h"

[keysets.second]
algorithm = "EdDSA"
rotate = "manual"
issuer = "http://127.0.0.1:8080/second"
max_token_ttl = "1h"

[[callers]]
name = "local"
uid = "self"
grants = [{ keyset = "*", actions = ["sign-token", "read", "rotate", "revoke", "import", "import-trust", "operate"] }]
"#;

/// Asks for a token of [`CONFIG`]'s first key set.
pub(crate) const SIGN: [&str; 6] = ["sign", "default", "--claims", "{}", "--ttl", "15m"];

/// A folder that is the working directory of every `jwksd` that is run in it.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    /// A folder with a good configuration, and nothing else.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.toml"), CONFIG).unwrap();
        Self { folder }
    }

    /// The same with another configuration.
    pub(crate) fn with(from: &str, to: &str) -> Self {
        let place = Self::new();
        place.edit(from, to);
        place
    }

    /// Changes the configuration in one place, which must be there.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let config = self.read("config.toml");
        assert!(config.contains(from), "{from} is not in the configuration");
        self.write("config.toml", &config.replacen(from, to, 1));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Everything below a folder, in order.
    pub(crate) fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.path(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path.clone());
                }
                files.push(path);
            }
        }
        files.sort();
        files
    }

    /// `jwksd` with these arguments, to be run here.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jwksd"));
        command.args(arguments);
        self.settle(command)
    }

    /// Any command, to be run here, without what the test's own environment says.
    pub(crate) fn settle(&self, mut command: Command) -> Command {
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        for variable in [
            "JWKSD_CA",
            "JWKSD_CLIENT_CERTIFICATE",
            "JWKSD_CLIENT_KEY",
            "JWKSD_SERVER",
            "JWKSD_TOKEN",
            "JOURNAL_STREAM",
            "NOTIFY_SOCKET",
            "RUST_LOG",
            "WATCHDOG_PID",
        ] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs a command that ends by itself.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Output::of(&mut self.command(arguments))
    }

    /// Runs `serve` where it must not come up, and so ends by itself.
    pub(crate) fn run_serve(&self, arguments: &[&str]) -> Output {
        Daemon::launch(self, self.command(arguments)).fails_to_start()
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) fn start(&self) -> Daemon {
        self.start_as(self.command(&["serve", "--init"]))
    }

    /// The same with another command.
    pub(crate) fn start_as(&self, command: Command) -> Daemon {
        let mut daemon = Daemon::launch(self, command);
        daemon.wait_until_ready();
        daemon
    }
}

/// A loopback address for a listener on TCP: its client needs to know the port beforehand. It is none
/// of those that the kernel gives to connections, which could take it in the meantime.
pub(crate) fn free_address() -> String {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(97);
    let candidate = || {
        let port = 20_000 + begin.wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed)) % 12_000;
        TcpListener::bind(format!("127.0.0.1:{port}")).ok()?.local_addr().ok()
    };
    (0..1000).find_map(|_| candidate()).unwrap().to_string()
}

/// Waits until `look` sees something, or fails after ten seconds.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..2000 {
        if let Some(seen) = look() {
            return seen;
        }
        pause();
    }
    panic!("waited in vain for {what}");
}

#[expect(clippy::disallowed_methods, reason = "another process is polled, which tells no event")]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}
