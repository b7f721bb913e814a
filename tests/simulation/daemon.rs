//! The real daemon, but for its listeners: what they would ask is asked directly.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use jwksd::administration::Administration;
use jwksd::api::{TokenRequest, Ttl};
use jwksd::audit::Audit;
use jwksd::clock::{Clock, ManualClock};
use jwksd::config::Config;
use jwksd::custody::{Asker, Custody, Peer, SignedToken, TokenError};
use jwksd::health::Check;
use jwksd::limits::Desk;
use jwksd::server;
use jwksd::sink;
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::lifecycle::Now;
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::MemoryRows;
use jwksd_keystore::time::Time;
use serde_json::value::RawValue;

use crate::store::{Faults, FaultyStore};

/// What outlives a process.
pub(crate) struct Host {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) rows: MemoryRows,
    pub(crate) faults: Arc<Faults>,
    pub(crate) master_keys: Arc<MasterKeys>,
    pub(crate) sink: sink::Means,
    pub(crate) folder: PathBuf,
}

/// A process.
pub(crate) struct Daemon {
    pub(crate) administration: Arc<Administration>,
    rotator: Option<JoinHandle<()>>,
    audit: Arc<Audit>,
}

/// What is served of a key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) body: Vec<u8>,
    pub(crate) cache_control: Vec<u8>,
}

impl Host {
    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// Starts a process.
    pub(crate) fn start(&self) -> Result<Daemon, String> {
        self.faults.revive();
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let config = Config::load(&self.config_path(), self.clock.wall()).map_err(|e| text(&e))?;
        let store = FaultyStore::open(&self.rows, &self.master_keys, &self.faults)
            .map_err(|error| text(&error))?;
        let (clock, store) = (self.clock.clone(), Arc::new(store));
        let (keys, sink) = (self.master_keys.clone(), self.sink.clone());
        let opened = server::open(config, self.config_path(), clock, store, keys, sink);
        let (administration, rotator, audit) = opened.map_err(|error| text(&error))?;
        administration.rotator.serving(administration.clock.now().lifecycle);
        Ok(Daemon { administration, rotator: Some(rotator), audit })
    }
}

impl Daemon {
    pub(crate) fn custody(&self) -> &Custody {
        &self.administration.custody
    }

    pub(crate) fn now(&self) -> Now {
        self.administration.clock.now()
    }

    pub(crate) fn settle(&self) {
        self.administration.rotator.settle();
    }

    /// What the public listener answers with.
    pub(crate) fn served(&self, keyset: &KeysetName) -> Option<Served> {
        served(self.custody(), keyset)
    }

    /// The key that signs.
    pub(crate) fn signer(&self, keyset: &KeysetName) -> Option<KeyId> {
        signer(self.custody(), keyset, self.now().lifecycle)
    }

    /// Somebody who may do everything.
    pub(crate) fn asker(&self, desk: Desk) -> Asker {
        let peer = Peer {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        let caller = self.custody().caller_by_peer(peer).unwrap();
        self.custody().begin(caller, desk, "simulation".to_owned()).unwrap()
    }

    /// A token that lives for so many seconds.
    pub(crate) fn sign(&self, keyset: &KeysetName, ttl: u64) -> Result<SignedToken, TokenError> {
        let claims = RawValue::from_string(r#"{"sub":"123"}"#.to_owned()).unwrap();
        let request = TokenRequest { claims: &claims, ttl: Ttl::Seconds(ttl), typ: None };
        self.custody().sign_token(&self.asker(Desk::Internal), keyset, &request)
    }

    /// The checks that fail, and why.
    pub(crate) fn troubles(&self) -> Vec<(Check, String)> {
        let findings = self.administration.health.findings().into_iter();
        findings.map(|finding| (finding.subject.check(), finding.to_string())).collect()
    }

    /// Ends the process as a stop does.
    pub(crate) fn stop(self) {
        self.administration.rotator.not_serving();
        self.end();
    }

    /// Ends the process at once; `faults` see to it that it writes nothing more.
    pub(crate) fn kill(self, faults: &Faults) {
        faults.kill();
        self.end();
    }

    fn end(mut self) {
        self.administration.rotator.stop();
        if let Some(rotator) = self.rotator.take() {
            rotator.join().unwrap();
        }
        self.audit.close();
    }
}

/// What is served of a key set now.
pub(crate) fn served(custody: &Custody, keyset: &KeysetName) -> Option<Served> {
    let ring = custody.ring(keyset)?;
    let served = ring.served()?;
    Some(Served { body: served.body.to_vec(), cache_control: served.cache_control.to_vec() })
}

/// The key of a set that signs at `now`.
pub(crate) fn signer(custody: &Custody, keyset: &KeysetName, now: Time) -> Option<KeyId> {
    let ring = custody.ring(keyset)?;
    let signer = ring.signer_at(now).ok()?;
    Some(signer.kid().clone())
}

/// A folder in memory, where there is one: the audit is synced at each step.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}
