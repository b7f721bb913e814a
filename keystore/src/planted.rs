//! Faults that are planted on purpose, to see that the simulation finds them: at the place of a rule,
//! one line breaks it. `docs/simulation.md` says which, and `tests/simulation/planted` tries each.
//!
//! Without the feature `planted-faults` none is there and [`is_planted`] costs nothing. With it, the
//! variable `JWKSD_PLANTED` of the environment names the one that is.

#[cfg(all(feature = "planted-faults", not(debug_assertions)))]
compile_error!("planted-faults breaks the daemon on purpose: only builds for tests may have it");

/// A fault, by the rule that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No key waits until every verifier has seen it.
    SignBeforeServed,
    /// The wait is that of verifiers which ask the daemon itself.
    SharedCacheForgotten,
    /// Copies that were served under a longer max-age are forgotten.
    FormerMaxAgeForgotten,
    /// Time in which the daemon was down counts towards a wait.
    WaitCountedWhileDown,
    /// Time that passes within a commit counts towards the wait of the key that it creates.
    SlowCommitCounted,
    /// A key leaves the JWK Set when half of its last tokens' lifetime is over.
    RetireEarly,
    /// A key leaves by the lifetime that is configured when it ends, not by the longest it signed.
    LongestLifetimeForgotten,
    /// A lifetime counts that is configured and not committed.
    LifetimeRaisedUncommitted,
    /// A key that another took over from ends an hour late.
    EraseLate,
    /// A key ends and its secret stays.
    EndedUnerased,
    /// Lifecycle time goes back with the wall clock.
    ResurrectOnBackJump,
    /// A wall clock that is set ahead is believed at once.
    JumpBelieved,
    /// A ring is published, then committed.
    PublishBeforeDurable,
    /// A commit that failed is taken for one that did not.
    AnsweredBeforeDurable,
    /// The ring stays as it was when a commit of unknown outcome turns out to be durable.
    StaleRing,
    /// While it is not known what the store holds, keys start to sign as if it were.
    DoubtUnfrozen,
    /// A revocation takes effect when it is durable, not before.
    RevocationWaits,
    /// The standby that a revocation promoted has no successor.
    LostStandby,
    /// A rotation that is asked for again happens again.
    DoubleRotation,
    /// Nothing remains of a key that left.
    TombstoneForgotten,
    /// A token is signed that the audit has no line of.
    SignedUnrecorded,
    /// A key signs that the file of its JWK Set lacks.
    HeldKeySigns,
}

impl Fault {
    /// What the environment calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SignBeforeServed => "sign-before-served",
            Self::SharedCacheForgotten => "shared-cache-forgotten",
            Self::FormerMaxAgeForgotten => "former-max-age-forgotten",
            Self::WaitCountedWhileDown => "wait-counted-while-down",
            Self::SlowCommitCounted => "slow-commit-counted",
            Self::RetireEarly => "retire-early",
            Self::LongestLifetimeForgotten => "longest-lifetime-forgotten",
            Self::LifetimeRaisedUncommitted => "lifetime-raised-uncommitted",
            Self::EraseLate => "erase-late",
            Self::EndedUnerased => "ended-unerased",
            Self::ResurrectOnBackJump => "resurrect-on-back-jump",
            Self::JumpBelieved => "jump-believed",
            Self::PublishBeforeDurable => "publish-before-durable",
            Self::AnsweredBeforeDurable => "answered-before-durable",
            Self::StaleRing => "stale-ring",
            Self::DoubtUnfrozen => "doubt-unfrozen",
            Self::RevocationWaits => "revocation-waits",
            Self::LostStandby => "lost-standby",
            Self::DoubleRotation => "double-rotation",
            Self::TombstoneForgotten => "tombstone-forgotten",
            Self::SignedUnrecorded => "signed-unrecorded",
            Self::HeldKeySigns => "held-key-signs",
        }
    }
}

/// Whether this fault is planted.
#[cfg(not(feature = "planted-faults"))]
#[inline]
#[must_use]
pub const fn is_planted(_fault: Fault) -> bool {
    false
}

/// Whether this fault is planted.
#[cfg(feature = "planted-faults")]
#[must_use]
pub fn is_planted(fault: Fault) -> bool {
    static PLANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "a test says what is planted, to all that it runs"
    )]
    let planted = PLANTED.get_or_init(|| std::env::var("JWKSD_PLANTED").ok());
    planted.as_deref() == Some(fault.name())
}
