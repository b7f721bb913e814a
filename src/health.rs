//! The checks: what has to be well, how each stands, and why. The one place that readiness, `status`
//! and metrics read. Why a check is a warning, and no reason to take the daemon from its callers, is
//! in docs/operations.md.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jwksd_keystore::facts::Span;
use jwksd_keystore::id::KeysetName;

use crate::audit::{Audit, OnFailure};
use crate::clock::LifecycleClock;
use crate::descriptors;
use crate::outlook::Outlooks;
use crate::sink::Standings;

/// What is checked. The list is closed, and its names stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// What was written to the store last is there.
    Store,
    /// The file of the master key has the key in use: the next start wants it.
    MasterKey,
    /// What is decided is recorded.
    Audit,
    /// The wall clock and lifecycle time agree.
    Clock,
    /// The configuration on the disk could be put in force when that was asked last.
    Reload,
    /// What time, the configuration and admins ask of a key set gets done.
    Steps,
    /// The secrets that sign, or are about to, open.
    Secrets,
    /// A `jwks_file` is as it shall be.
    JwksFile,
    /// Keys come, end and leave when they should.
    Rotation,
    /// A key set that signs has a key that verifies and could sign at once.
    Standby,
    /// The certificate that a listener shows is valid, and stays so for a while.
    Certificate,
    /// The files of a listener's TLS are in force.
    TlsFiles,
    /// The CAs of clients are those on the disk.
    ClientCa,
    /// The system gives the process what it asks for: descriptors and threads.
    Resources,
}

impl Check {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 14] = [
        Self::Store,
        Self::MasterKey,
        Self::Audit,
        Self::Clock,
        Self::Reload,
        Self::Steps,
        Self::Secrets,
        Self::JwksFile,
        Self::Rotation,
        Self::Standby,
        Self::Certificate,
        Self::TlsFiles,
        Self::ClientCa,
        Self::Resources,
    ];

    /// Its name, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::MasterKey => "master-key",
            Self::Audit => "audit",
            Self::Clock => "clock",
            Self::Reload => "reload",
            Self::Steps => "steps",
            Self::Secrets => "secrets",
            Self::JwksFile => "jwks-file",
            Self::Rotation => "rotation",
            Self::Standby => "standby",
            Self::Certificate => "certificate",
            Self::TlsFiles => "tls-files",
            Self::ClientCa => "client-ca",
            Self::Resources => "resources",
        }
    }
}

/// What a finding is about: a check, and of which key set or listener, where it has several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// [`Check::Store`]
    Store,
    /// [`Check::MasterKey`]
    MasterKey,
    /// [`Check::Audit`]
    Audit,
    /// [`Check::Clock`]
    Clock,
    /// [`Check::Reload`]
    Reload,
    /// [`Check::Steps`] of a key set.
    Steps(KeysetName),
    /// [`Check::Secrets`] of a key set.
    Secrets(KeysetName),
    /// [`Check::JwksFile`] of a key set.
    JwksFile(KeysetName),
    /// [`Check::Rotation`] of a key set.
    Rotation(KeysetName),
    /// [`Check::Standby`] of a key set.
    Standby(KeysetName),
    /// [`Check::Certificate`] of a listener's table, such as `public.tls`.
    Certificate(&'static str),
    /// [`Check::TlsFiles`] of a listener's table.
    TlsFiles(&'static str),
    /// [`Check::ClientCa`] of a listener's table.
    ClientCa(&'static str),
    /// [`Check::Resources`], file descriptors.
    Descriptors,
    /// [`Check::Resources`], threads.
    Threads,
}

impl Subject {
    /// The check.
    #[must_use]
    pub const fn check(&self) -> Check {
        match self {
            Self::Store => Check::Store,
            Self::MasterKey => Check::MasterKey,
            Self::Audit => Check::Audit,
            Self::Clock => Check::Clock,
            Self::Reload => Check::Reload,
            Self::Steps(_) => Check::Steps,
            Self::Secrets(_) => Check::Secrets,
            Self::JwksFile(_) => Check::JwksFile,
            Self::Rotation(_) => Check::Rotation,
            Self::Standby(_) => Check::Standby,
            Self::Certificate(_) => Check::Certificate,
            Self::TlsFiles(_) => Check::TlsFiles,
            Self::ClientCa(_) => Check::ClientCa,
            Self::Descriptors | Self::Threads => Check::Resources,
        }
    }

    /// The key set that it is about.
    #[must_use]
    pub const fn keyset(&self) -> Option<&KeysetName> {
        match self {
            Self::Steps(keyset)
            | Self::Secrets(keyset)
            | Self::JwksFile(keyset)
            | Self::Rotation(keyset)
            | Self::Standby(keyset) => Some(keyset),
            Self::Store
            | Self::MasterKey
            | Self::Audit
            | Self::Clock
            | Self::Reload
            | Self::Certificate(_)
            | Self::TlsFiles(_)
            | Self::ClientCa(_)
            | Self::Descriptors
            | Self::Threads => None,
        }
    }

    /// The table of the listener that it is about, such as `public.tls`.
    #[must_use]
    pub const fn listener(&self) -> Option<&'static str> {
        match self {
            Self::Certificate(table) | Self::TlsFiles(table) | Self::ClientCa(table) => Some(table),
            Self::Store
            | Self::MasterKey
            | Self::Audit
            | Self::Clock
            | Self::Reload
            | Self::Steps(_)
            | Self::Secrets(_)
            | Self::JwksFile(_)
            | Self::Rotation(_)
            | Self::Standby(_)
            | Self::Descriptors
            | Self::Threads => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("store"),
            Self::MasterKey => f.write_str("master key"),
            Self::Audit => f.write_str("audit"),
            Self::Clock => f.write_str("clock"),
            Self::Reload => f.write_str("reload"),
            Self::Steps(keyset) => write!(f, "key set {keyset}"),
            Self::Secrets(keyset) => write!(f, "secret of key set {keyset}"),
            Self::JwksFile(keyset) => write!(f, "jwks_file of key set {keyset}"),
            Self::Rotation(keyset) => write!(f, "rotation of key set {keyset}"),
            Self::Standby(keyset) => write!(f, "standby of key set {keyset}"),
            Self::Certificate(table) => write!(f, "{table} certificate"),
            Self::TlsFiles(table) => write!(f, "{table} files"),
            Self::ClientCa(table) => write!(f, "{table} client_ca"),
            Self::Descriptors => f.write_str("file descriptors"),
            Self::Threads => f.write_str("threads"),
        }
    }
}

/// How a check stands. The worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// All is well.
    Ok,
    /// All goes on for now, and someone should see to it: readiness does not suffer.
    Warning,
    /// The daemon is not ready.
    Failing,
}

impl State {
    /// Its name, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failing => "failing",
        }
    }
}

/// What is not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub subject: Subject,
    /// How bad it is; never [`State::Ok`].
    pub state: State,
    /// Why, for people, in one line.
    pub why: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.why)
    }
}

/// How all checks stand.
pub struct Health {
    audit: Arc<Audit>,
    clock: Arc<LifecycleClock>,
    standings: Arc<Standings>,
    outlooks: Arc<Outlooks>,
    /// What others reported.
    reported: Mutex<BTreeMap<Subject, (State, String)>>,
}

impl Health {
    /// All well, as far as audit, clock, the files of JWK Sets and what is due are.
    #[must_use]
    pub fn new(
        audit: Arc<Audit>,
        clock: Arc<LifecycleClock>,
        standings: Arc<Standings>,
        outlooks: Arc<Outlooks>,
    ) -> Self {
        Self { audit, clock, standings, outlooks, reported: Mutex::default() }
    }

    /// Says that `subject` is not well, so that the daemon is not ready, and why.
    pub fn report(&self, subject: Subject, why: &str) {
        self.reported().insert(subject, (State::Failing, in_one_line(why)));
    }

    /// Says that `subject` is well for now, but will not stay so by itself: readiness does not suffer.
    /// Tells whether this was not known.
    pub fn warn(&self, subject: Subject, why: &str) -> bool {
        let warning = (State::Warning, in_one_line(why));
        let before = self.reported().insert(subject, warning.clone());
        before != Some(warning)
    }

    /// Says that `subject` is well.
    pub fn clear(&self, subject: &Subject) {
        self.reported().remove(subject);
    }

    /// Whether no check is failing.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.findings().iter().all(|finding| finding.state != State::Failing)
    }

    /// How each check stands, with the worst of what was found about it: cheap, and as long as
    /// [`Check::ALL`].
    #[must_use]
    pub fn overview(&self) -> Vec<(Check, State)> {
        let findings = self.findings();
        let worst = |check| {
            let of_check = findings.iter().filter(|finding| finding.subject.check() == check);
            of_check.map(|finding| finding.state).max().unwrap_or(State::Ok)
        };
        Check::ALL.into_iter().map(|check| (check, worst(check))).collect()
    }

    /// All that is not well, in the order of the checks.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let now = self.clock.now().lifecycle;
        let reported = self.reported().clone().into_iter();
        let finding = |(subject, (state, why))| Finding { subject, state, why };
        let mut findings: Vec<Finding> = reported.map(finding).collect();
        findings.extend(self.standings.troubles(now).into_iter().map(|(keyset, why)| Finding {
            subject: Subject::JwksFile(keyset),
            state: State::Failing,
            why: in_one_line(&why),
        }));
        findings.extend(self.outlooks.findings(now));
        findings.extend(self.of_audit());
        findings.extend(self.of_clock());
        findings.extend(of_descriptors());
        findings.sort_by(|a, b| a.subject.cmp(&b.subject));
        findings
    }

    fn of_audit(&self) -> Option<Finding> {
        let meanwhile = match self.audit.on_failure() {
            OnFailure::Refuse => "nothing is signed or done, but revocations",
            OnFailure::Continue => "what is signed and done is not recorded",
        };
        self.audit.is_failing().then(|| Finding {
            subject: Subject::Audit,
            state: State::Failing,
            why: format!("the last write or sync failed; {meanwhile}"),
        })
    }

    fn of_clock(&self) -> Option<Finding> {
        let apart = self.clock.disagreement()?;
        let why = format!(
            "the wall clock and lifecycle time are {} apart; nothing activates, ends or retires \
             early meanwhile",
            Span(apart)
        );
        Some(Finding { subject: Subject::Clock, state: State::Failing, why })
    }

    fn reported(&self) -> MutexGuard<'_, BTreeMap<Subject, (State, String)>> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// They are asked for at this moment: who listens for connections may not be told that there are none.
fn of_descriptors() -> Option<Finding> {
    let why =
        "none is left: nobody new is served before one is closed or more are allowed".to_owned();
    let none_left = Finding { subject: Subject::Descriptors, state: State::Failing, why };
    descriptors::are_used_up().then_some(none_left)
}

/// Some errors, such as those of TOML, draw with lines.
fn in_one_line(why: &str) -> String {
    let lines = why.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}
