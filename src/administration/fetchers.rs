//! Who has fetched what.

use jwksd_keystore::facts::Span;
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::time::Time;

use super::{AdminError, Administration};
use crate::api::fetchers::{FetchedKeyset, Fetcher, Fetchers, FetchersOfKey, Has};
use crate::custody::Asker;
use crate::fetchers::{self, Fetched, Watch, window};
use crate::policy::Action;

impl Administration {
    /// Who has fetched one JWK Set, or all that the asker may read. What is allowed is not recorded,
    /// as with the list of key sets.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub fn fetchers(
        &self,
        asker: &Asker,
        keyset: Option<&KeysetName>,
    ) -> Result<Fetchers, AdminError> {
        let config = self.custody.config();
        let names = match keyset {
            Some(keyset) if self.custody.may(asker, Action::Read, keyset) => {
                let is_there = config.keysets.contains_key(keyset);
                if !is_there && self.custody.ring(keyset).is_none() {
                    return Err(AdminError::UnknownKeyset(keyset.clone()));
                }
                vec![keyset.clone()]
            }
            Some(keyset) => {
                self.permit(asker, Action::Read, "fetchers", keyset, None, None)?;
                vec![keyset.clone()]
            }
            None => self.readable(asker, &config)?,
        };
        let Some(watch) = self.fetchers.watch() else {
            return Ok(Fetchers { since: None, keysets: Vec::new() });
        };
        let now = self.clock.now().lifecycle;
        let keysets = names.into_iter().map(|name| self.fetched(&watch, name, now)).collect();
        Ok(Fetchers { since: Some(watch.since().to_string()), keysets })
    }

    /// How many fetchers lack a key; `None` where nobody watches.
    pub(super) fn fetchers_of(&self, keyset: &KeysetName, kid: &KeyId) -> Option<FetchersOfKey> {
        let (watch, ring) = (self.fetchers.watch()?, self.custody.ring(keyset)?);
        let fetchers::OfKey { known, without, forgotten, several } =
            watch.without(keyset, &ring, kid);
        let since = watch.since().to_string();
        Some(FetchersOfKey { known, without_standby: without, forgotten, several, since })
    }

    fn fetched(&self, watch: &Watch, name: KeysetName, now: Time) -> FetchedKeyset {
        let ring = self.custody.ring(&name);
        let ring = ring.as_deref();
        let seen = ring.map(|ring| watch.fetched(&name, ring, now)).unwrap_or_default();
        let Fetched { tally, fetchers } = seen;
        let served = ring.and_then(|ring| ring.served());
        let signer = ring.and_then(|ring| ring.signer_at(now).ok());
        FetchedKeyset {
            version: served.map(|served| served.version.etag.clone()),
            active: signer.map(|signer| signer.kid().clone()),
            standby: ring.and_then(|ring| ring.standby_at(now)).cloned(),
            window: ring.map(|ring| Span(window(ring)).to_string()),
            known: tally.known,
            current: tally.current,
            without_active: tally.without_active,
            without_standby: tally.without_standby,
            forgotten: tally.forgotten,
            fetchers: fetchers.into_iter().map(told).collect(),
            name,
        }
    }
}

fn told(fetcher: fetchers::Fetcher) -> Fetcher {
    Fetcher {
        who: fetcher.who,
        user_agent: fetcher.user_agent,
        last: fetcher.last.to_string(),
        fetches: fetcher.fetches,
        has: match fetcher.has {
            fetchers::Has::Current => Has::Current,
            fetchers::Has::WithoutActive => Has::WithoutActive,
            fetchers::Has::WithoutStandby => Has::WithoutStandby,
            fetchers::Has::Older => Has::Older,
        },
        seen_version: fetcher.version.etag.clone(),
    }
}
