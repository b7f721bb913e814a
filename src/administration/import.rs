//! Keys that admins bring: read and checked here, taken in by the rotator.

use jwksd_keystore::facts::LIVE_KIDS_WARNING;
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::import::{self, ImportError, Passphrase};
use jwksd_keystore::lifecycle::{Answer, Number, Replaceable, State};
use jwksd_keystore::time::Time;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{AdminError, Administration, actor};
use crate::api::{ImportResponse, KeyState};
use crate::custody::Asker;
use crate::policy::Action;
use crate::rotator::{Command, Incoming, Outcome, StepError};

/// How many key files are read at once. A passphrase may cost seconds and 128 MiB.
const READ_AT_ONCE: usize = 2;

/// A key file, and what is to become of its key. Nothing prints it, and it is wiped on drop.
pub struct ImportOrder {
    /// The file.
    pub file: Zeroizing<Vec<u8>>,
    /// What it is encrypted with.
    pub passphrase: Option<Passphrase>,
    /// What the key is to be called; if not given, what its JWK says, or else its thumbprint.
    pub kid: Option<KeyId>,
    /// What the key is for.
    pub purpose: Purpose,
}

/// What a key is brought for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To sign.
    Sign {
        /// Which standby it may take the place of.
        may_replace: Replaceable,
    },
    /// To be served while it signs elsewhere.
    VerifyOnly {
        /// When it leaves the JWK Set.
        until: Time,
    },
}

/// Room for as many key files as are read at once.
pub(crate) fn room() -> Semaphore {
    Semaphore::new(READ_AT_ONCE)
}

impl Administration {
    /// Whether the asker may bring keys at all: before that nothing of a key file is received. Which
    /// of the two grants it takes, the request says.
    ///
    /// # Errors
    ///
    /// [`AdminError::Denied`], which is recorded.
    pub fn may_import(&self, asker: &Asker, keyset: &KeysetName) -> Result<(), AdminError> {
        let mut actions = [Action::Import, Action::ImportTrust].into_iter();
        if !actions.any(|action| self.custody.may(asker, action, keyset)) {
            let action = Action::Import;
            self.permit(asker, action, action.name(), keyset, None, None)?;
        }
        Ok(())
    }

    /// Takes a key in.
    ///
    /// # Errors
    ///
    /// [`AdminError`], which holds nothing of the file.
    pub fn import(
        &self,
        asker: &Asker,
        keyset: &KeysetName,
        order: ImportOrder,
    ) -> Result<ImportResponse, AdminError> {
        let (action, detail) = match order.purpose {
            Purpose::Sign { .. } => (Action::Import, None),
            Purpose::VerifyOnly { until } => (Action::ImportTrust, Some(format!("until {until}"))),
        };
        let (name, kid) = (action.name(), order.kid.as_ref());
        let permit = self.permit(asker, action, name, keyset, kid, detail.as_deref())?;
        let (kid, command) = {
            let _room = self.reading.try_acquire().map_err(|_| AdminError::Reading)?;
            read(order)?
        };
        let outcome = self.rotator.command(permit, keyset, command, actor(asker))?;
        told(keyset, kid, &outcome)
    }
}

/// Reads the key; file and passphrase are gone afterwards.
fn read(order: ImportOrder) -> Result<(KeyId, Command), ImportError> {
    let ImportOrder { file, passphrase, kid, purpose } = order;
    let key = import::read(&file, passphrase.as_ref())?;
    let kid = kid.or_else(|| key.kid().cloned()).unwrap_or_else(|| key.thumbprint().into());
    let command = match purpose {
        Purpose::Sign { may_replace } => {
            key.pair()?;
            Command::Import { key: Incoming::new(key), kid: kid.clone(), may_replace }
        }
        Purpose::VerifyOnly { until } => {
            Command::Trust { key: Incoming::new(key.without_secret()), kid: kid.clone(), until }
        }
    };
    Ok((kid, command))
}

fn told(keyset: &KeysetName, kid: KeyId, outcome: &Outcome) -> Result<ImportResponse, AdminError> {
    let (number, replaced) = match &outcome.answer {
        Answer::Imported { number, replaced } => (*number, replaced.as_slice()),
        Answer::Trusted { number } => (*number, [].as_slice()),
        Answer::Done | Answer::Rotation { .. } | Answer::AlreadyRotated { .. } => {
            (Number::NONE, [].as_slice())
        }
    };
    let life = outcome.set.life(number);
    let life = life.ok_or_else(|| StepError::UnknownKey(kid.clone()))?;
    Ok(ImportResponse {
        keyset: keyset.clone(),
        kid,
        number: number.0,
        algorithm: life.algorithm.to_string(),
        state: match life.state_at(outcome.at) {
            State::Pending => KeyState::Pending,
            State::Active => KeyState::Active,
            State::VerifyOnly => KeyState::VerifyOnly,
        },
        already: outcome.already,
        published: life.published.to_string(),
        activates: life.activates.map(|time| time.to_string()),
        retires: life.retires.map(|time| time.to_string()),
        replaced: replaced.iter().filter_map(|number| outcome.kid(*number)).cloned().collect(),
        warnings: warnings(outcome),
    })
}

/// What the admin may not have thought of.
fn warnings(outcome: &Outcome) -> Vec<String> {
    let lives = outcome.set.lives.iter();
    let kids = lives.filter(|life| life.state_at(outcome.at) != State::Pending).count();
    if kids <= LIVE_KIDS_WARNING as usize {
        return Vec::new();
    }
    vec![format!(
        "tokens of {kids} keys can be alive at once; some verifiers cache only three keys by \
         default, others five, and fetch the JWK Set again and again"
    )]
}
