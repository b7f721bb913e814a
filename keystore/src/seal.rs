//! Secret to sealed bytes and back, and the authentication of all that is stored.
//!
//! Both happen under keys derived from the master key. There can be several master keys: the first
//! seals, all open. Everything that surrounds a secret (key set, number, kid, algorithm, revision)
//! is bound to it, so that a sealed secret opens only in its own place.
//!
//! Sealed bytes: format (1), AEAD id (1 = AES-256-GCM-SIV), id of the master key (8 bytes), nonce
//! (12 bytes), ciphertext with tag.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::algorithm::Algorithm;
use crate::crypto::{self, ChunkKey, CryptoError, DerivedKeys, NONCE_BYTES, SALT_BYTES, hex};
use crate::id::{KeyId, KeysetName, Revision};
use crate::jwk::base64url;
use crate::key::Secret;
use crate::lifecycle::Number;

const FORMAT: u8 = 1;
const AES_256_GCM_SIV: u8 = 1;
pub(crate) const ID_BYTES: usize = 8;
const HEADER_BYTES: usize = 2 + ID_BYTES + NONCE_BYTES;

/// How a line of a master key file begins.
const MASTER_KEY_PREFIX: &str = "jwksd-master-key-v1:";

/// The same up to the number of its format.
const MASTER_KEY_NAME: &str = "jwksd-master-key-v";

/// A secret, encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(#[serde(with = "base64url")] Vec<u8>);

/// The place of a secret: it opens only there.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// Its key set.
    pub keyset: &'a KeysetName,
    /// Its number.
    pub number: Number,
    /// Its kid.
    pub kid: &'a KeyId,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// The revision of the key set that it came with.
    pub revision: Revision,
}

/// The master keys: the first seals, all open.
pub struct MasterKeys {
    first: DerivedKeys,
    others: Vec<DerivedKeys>,
}

/// What is wrong with a master key file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MasterKeyError {
    /// There is no key in it.
    #[error("it holds no master key")]
    Empty,
    /// A line is not a key. The line itself is not told: it may hold half a secret.
    #[error("line {0} is not a master key (they begin with {MASTER_KEY_PREFIX})")]
    Line(usize),
    /// A line is a key of a newer version.
    #[error(
        "line {line} is a master key of the format v{format}, which this version of jwksd does not \
         know: a newer one made it"
    )]
    NewerFormat {
        /// The line.
        line: usize,
        /// Its format.
        format: u32,
    },
    /// The library failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// Why something that is stored was not taken.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    /// It was written under a master key that is not among ours.
    #[error("it was written under the master key {id}, which is not the one given")]
    OtherMasterKey {
        /// The id of that key in hexadecimal.
        id: String,
    },
    /// It is damaged, or was moved, swapped or put back.
    #[error("it is damaged, or not in the place that it was written for")]
    Damaged,
    /// It was written by a newer version of jwksd.
    #[error("it has format {0}, which this version does not know")]
    UnknownFormat(u8),
}

impl MasterKeys {
    /// Reads a master key file: one key a line, the first seals; empty lines and lines that begin
    /// with `#` do not count.
    ///
    /// # Errors
    ///
    /// Says which line is wrong, never what it holds.
    pub fn parse(text: &str) -> Result<Self, MasterKeyError> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = || match newer_format(line) {
                Some(format) => MasterKeyError::NewerFormat { line: index + 1, format },
                None => MasterKeyError::Line(index + 1),
            };
            let encoded = line.strip_prefix(MASTER_KEY_PREFIX).ok_or_else(wrong)?;
            let mut bytes = Zeroizing::new([0; 32]);
            let length = BASE64_URL_SAFE_NO_PAD
                .decode_slice(encoded, bytes.as_mut())
                .map_err(|_| wrong())?;
            if length != bytes.len() {
                return Err(wrong());
            }
            keys.push(DerivedKeys::derive(&bytes)?);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(MasterKeyError::Empty)?;
        Ok(Self { first, others: keys.collect() })
    }

    /// The content of a new master key file, with one random key.
    ///
    /// # Errors
    ///
    /// [`CryptoError::Generate`] when there is no randomness.
    pub fn generate_file() -> Result<Zeroizing<String>, CryptoError> {
        let bytes = crypto::random::<32>()?;
        let mut text = Zeroizing::new(String::with_capacity(256));
        text.push_str("# The master key of jwksd. Whoever has it and the store has every key.\n");
        text.push_str(MASTER_KEY_PREFIX);
        let mut encoded = Zeroizing::new([0; 43]);
        if BASE64_URL_SAFE_NO_PAD.encode_slice(bytes.as_ref(), encoded.as_mut()).is_err() {
            return Err(CryptoError::Generate);
        }
        text.extend(encoded.iter().map(|&byte| char::from(byte)));
        text.push('\n');
        Ok(text)
    }

    /// The id of the key that seals, in hexadecimal.
    #[must_use]
    pub fn sealing_id(&self) -> String {
        hex(&self.first.id)
    }

    /// The ids of all keys in hexadecimal, that of the key that seals first.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        std::iter::once(&self.first).chain(&self.others).map(|key| hex(&key.id)).collect()
    }

    /// The id of the key that seals, and from it the key of the backup with this salt.
    pub(crate) fn new_backup(
        &self,
        salt: &[u8; SALT_BYTES],
    ) -> Result<([u8; ID_BYTES], ChunkKey), CryptoError> {
        Ok((self.first.id, self.first.of_backup(salt)?))
    }

    /// The key of the backup with this salt, from the master key with this id.
    pub(crate) fn backup(&self, id: &[u8], salt: &[u8; SALT_BYTES]) -> Result<ChunkKey, SealError> {
        self.key(id)?.of_backup(salt).map_err(|_| SealError::Damaged)
    }

    /// Encrypts a secret for its place.
    ///
    /// # Errors
    ///
    /// [`CryptoError::Generate`] when there is no randomness.
    pub fn seal(&self, secret: &Secret, place: &Place<'_>) -> Result<Sealed, CryptoError> {
        let (nonce, ciphertext) = self.first.encrypt(&place.associated(), secret.expose())?;
        let mut sealed = vec![FORMAT, AES_256_GCM_SIV];
        sealed.extend_from_slice(&self.first.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        Ok(Sealed(sealed))
    }

    /// Decrypts a secret in its place.
    ///
    /// # Errors
    ///
    /// A [`SealError`] that tells a wrong master key from damage.
    pub fn open(&self, sealed: &Sealed, place: &Place<'_>) -> Result<Secret, SealError> {
        let bytes = &sealed.0;
        if bytes.len() < HEADER_BYTES {
            return Err(SealError::Damaged);
        }
        if bytes[0] != FORMAT || bytes[1] != AES_256_GCM_SIV {
            return Err(SealError::UnknownFormat(bytes[0]));
        }
        let key = self.key(&bytes[2..2 + ID_BYTES])?;
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&bytes[2 + ID_BYTES..HEADER_BYTES]);
        key.decrypt(&place.associated(), nonce, &bytes[HEADER_BYTES..])
            .map(Secret::new)
            .map_err(|_| SealError::Damaged)
    }

    /// A tag that only a holder of the master key can make over `fields`.
    #[must_use]
    pub(crate) fn authenticate(&self, fields: &[&[u8]]) -> Vec<u8> {
        let mut tag = self.first.id.to_vec();
        tag.extend_from_slice(&self.first.tag(&length_prefixed(fields)));
        tag
    }

    /// Checks a tag made by [`MasterKeys::authenticate`] over the same fields.
    pub(crate) fn check(&self, fields: &[&[u8]], tag: &[u8]) -> Result<(), SealError> {
        let (id, tag) = tag.split_at_checked(ID_BYTES).ok_or(SealError::Damaged)?;
        if self.key(id)?.tag_matches(&length_prefixed(fields), tag) {
            Ok(())
        } else {
            Err(SealError::Damaged)
        }
    }

    /// `tag ‖ body`, the tag over `name` too, so that what has different names cannot be swapped.
    #[must_use]
    pub(crate) fn tagged(&self, name: &[u8], body: &[u8]) -> Vec<u8> {
        let tag = self.authenticate(&[name, body]);
        let mut value = vec![u8::try_from(tag.len()).unwrap_or(u8::MAX)];
        value.extend_from_slice(&tag);
        value.extend_from_slice(body);
        value
    }

    /// The body of what [`MasterKeys::tagged`] made under the same name.
    pub(crate) fn checked<'a>(&self, name: &[u8], value: &'a [u8]) -> Result<&'a [u8], SealError> {
        let (length, rest) = value.split_first().ok_or(SealError::Damaged)?;
        let (tag, body) = rest.split_at_checked(usize::from(*length)).ok_or(SealError::Damaged)?;
        self.check(&[name, body], tag)?;
        Ok(body)
    }

    /// A tag over a text of the audit, under a key derived for that alone: id of the master key and
    /// HMAC-SHA-256, as base64url.
    #[must_use]
    pub fn tag_audit(&self, text: &[u8]) -> String {
        let mut tag = self.first.id.to_vec();
        tag.extend_from_slice(&self.first.audit_tag(text));
        BASE64_URL_SAFE_NO_PAD.encode(tag)
    }

    /// Checks a tag made by [`MasterKeys::tag_audit`] over the same text.
    ///
    /// # Errors
    ///
    /// [`SealError::OtherMasterKey`] or [`SealError::Damaged`].
    pub fn check_audit(&self, text: &[u8], tag: &str) -> Result<(), SealError> {
        let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).map_err(|_| SealError::Damaged)?;
        let (id, tag) = tag.split_at_checked(ID_BYTES).ok_or(SealError::Damaged)?;
        if self.key(id)?.audit_tag_matches(text, tag) { Ok(()) } else { Err(SealError::Damaged) }
    }

    /// The id of the master key that a tag of the audit says it was made under, in hexadecimal.
    #[must_use]
    pub fn id_of_audit_tag(tag: &str) -> Option<String> {
        let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).ok()?;
        tag.get(..ID_BYTES).map(hex)
    }

    fn key(&self, id: &[u8]) -> Result<&DerivedKeys, SealError> {
        std::iter::once(&self.first)
            .chain(&self.others)
            .find(|key| key.id == id)
            .ok_or_else(|| SealError::OtherMasterKey { id: hex(id) })
    }
}

impl Place<'_> {
    fn associated(&self) -> Vec<u8> {
        length_prefixed(&[
            &[FORMAT],
            self.keyset.as_str().as_bytes(),
            &self.number.0.to_be_bytes(),
            self.kid.as_str().as_bytes(),
            self.algorithm.to_string().as_bytes(),
            &self.revision.0.to_be_bytes(),
        ])
    }
}

/// The format of a line of a master key file, where it is a later one than ours.
fn newer_format(line: &str) -> Option<u32> {
    let (format, _) = line.strip_prefix(MASTER_KEY_NAME)?.split_once(':')?;
    format.parse().ok().filter(|format| *format > 1)
}

/// The fields in a form that no other fields have.
fn length_prefixed(fields: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        out.extend_from_slice(&(field.len() as u64).to_be_bytes());
        out.extend_from_slice(field);
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::crypto::SigningKey;

    pub(crate) fn master_keys() -> MasterKeys {
        MasterKeys::parse(&MasterKeys::generate_file().unwrap()).unwrap()
    }

    fn secret() -> Secret {
        crypto::generate(Algorithm::Es256).unwrap().secret
    }

    #[test]
    fn a_tag_of_the_audit_holds_for_its_text_and_its_master_key_alone() {
        let (keys, others) = (master_keys(), master_keys());
        let tag = keys.tag_audit(b"line");
        assert_eq!(keys.check_audit(b"line", &tag), Ok(()));
        assert_eq!(keys.check_audit(b"lime", &tag), Err(SealError::Damaged));
        assert!(matches!(others.check_audit(b"line", &tag), Err(SealError::OtherMasterKey { .. })));
        assert_eq!(MasterKeys::id_of_audit_tag(&tag), Some(keys.sealing_id()));
        for damaged in ["", "AAAA", "not base64url!", &tag[..tag.len() - 4]] {
            assert_eq!(keys.check_audit(b"line", damaged), Err(SealError::Damaged), "{damaged}");
        }
        assert_eq!(MasterKeys::id_of_audit_tag("AAAA"), None);
        assert_eq!(MasterKeys::id_of_audit_tag("not base64url!"), None);
    }

    /// A place, each of whose fields a test can change.
    struct Owned(KeysetName, u64, KeyId, Algorithm, u64);

    impl Owned {
        fn new() -> Self {
            Self("default".parse().unwrap(), 7, "kid".parse().unwrap(), Algorithm::Es256, 3)
        }

        fn place(&self) -> Place<'_> {
            Place {
                keyset: &self.0,
                number: Number(self.1),
                kid: &self.2,
                algorithm: self.3,
                revision: Revision(self.4),
            }
        }
    }

    #[test]
    fn a_sealed_secret_opens_in_its_place_and_signs() {
        let keys = master_keys();
        let owned = Owned::new();
        let sealed = keys.seal(&secret(), &owned.place()).unwrap();
        let opened = keys.open(&sealed, &owned.place()).unwrap();
        assert!(SigningKey::new(Algorithm::Es256, &opened).is_ok());
    }

    #[test]
    fn a_secret_of_a_newer_format_is_told_as_that() {
        let keys = master_keys();
        let owned = Owned::new();
        let mut sealed = keys.seal(&secret(), &owned.place()).unwrap();
        sealed.0[0] = 2;
        let refused = keys.open(&sealed, &owned.place()).err().unwrap();
        assert_eq!(refused, SealError::UnknownFormat(2));
        let what = || "the secret of key 7".to_owned();
        let told = crate::store::StoreError::of_seal(refused, what).to_string();
        assert!(told.starts_with("the secret of key 7 has format 2, which this version"), "{told}");
    }

    #[test]
    fn a_sealed_secret_opens_in_no_other_place() {
        let keys = master_keys();
        let sealed = keys.seal(&secret(), &Owned::new().place()).unwrap();
        let changes: [fn(&mut Owned); 5] = [
            |place| place.0 = "other".parse().unwrap(),
            |place| place.1 = 8,
            |place| place.2 = "kie".parse().unwrap(),
            |place| place.3 = Algorithm::EdDsa,
            |place| place.4 = 4,
        ];
        for change in changes {
            let mut owned = Owned::new();
            change(&mut owned);
            assert_eq!(keys.open(&sealed, &owned.place()).err(), Some(SealError::Damaged));
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let keys = master_keys();
        let owned = Owned::new();
        let sealed = keys.seal(&secret(), &owned.place()).unwrap();
        for index in 0..sealed.0.len() {
            let mut damaged = sealed.clone();
            damaged.0[index] ^= 1;
            assert!(keys.open(&damaged, &owned.place()).is_err(), "byte {index}");
        }
        for length in 0..sealed.0.len() {
            let short = Sealed(sealed.0[..length].to_vec());
            assert!(keys.open(&short, &owned.place()).is_err(), "length {length}");
        }
    }

    #[test]
    fn the_first_master_key_seals_and_all_open() {
        let old_file = MasterKeys::generate_file().unwrap();
        let new_file = MasterKeys::generate_file().unwrap();
        let old = MasterKeys::parse(&old_file).unwrap();
        let new = MasterKeys::parse(&new_file).unwrap();
        let both = MasterKeys::parse(&format!("{}{}", *new_file, *old_file)).unwrap();
        let owned = Owned::new();
        let by_old = old.seal(&secret(), &owned.place()).unwrap();
        let by_both = both.seal(&secret(), &owned.place()).unwrap();
        assert!(both.open(&by_old, &owned.place()).is_ok());
        assert!(new.open(&by_both, &owned.place()).is_ok());
        let refused = new.open(&by_old, &owned.place()).err();
        assert_eq!(refused, Some(SealError::OtherMasterKey { id: old.sealing_id() }));
    }

    #[test]
    fn a_master_key_file_that_is_wrong_is_refused_without_telling_what_it_holds() {
        assert_eq!(MasterKeys::parse("# none\n").err(), Some(MasterKeyError::Empty));
        let file = MasterKeys::generate_file().unwrap();
        let key = file.lines().last().unwrap();
        for wrong in [&key[..key.len() - 1], &format!("{key}A"), "hunter2", MASTER_KEY_PREFIX] {
            let error = MasterKeys::parse(wrong).err().unwrap();
            assert_eq!(error, MasterKeyError::Line(1));
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn a_master_key_of_a_newer_format_is_told_as_that_and_nothing_of_it_is() {
        let known = MasterKeys::generate_file().unwrap();
        for (format, secret) in [(2, "hunter2"), (10, ""), (4_000_000_000, "a:b")] {
            let text = format!("{}jwksd-master-key-v{format}:{secret}\n", *known);
            let error = MasterKeys::parse(&text).err().unwrap();
            assert_eq!(error, MasterKeyError::NewerFormat { line: 3, format });
            let told = error.to_string();
            assert!(told.contains(&format!("line 3 is a master key of the format v{format}")));
            assert!(secret.is_empty() || !told.contains(secret), "{told}");
        }
        // None of ours: half a secret may be what looks like a number.
        for wrong in
            ["jwksd-master-key-v0:x", "jwksd-master-key-v2", "jwksd-master-key-v99999999999:"]
        {
            assert_eq!(MasterKeys::parse(wrong).err(), Some(MasterKeyError::Line(1)), "{wrong}");
        }
    }

    #[test]
    fn a_tag_holds_for_its_fields_only() {
        let keys = master_keys();
        let tag = keys.authenticate(&[b"ab", b"c"]);
        assert_eq!(keys.check(&[b"ab", b"c"], &tag), Ok(()));
        assert_eq!(keys.check(&[b"a", b"bc"], &tag), Err(SealError::Damaged));
        assert_eq!(keys.check(&[b"ab", b"c"], &tag[..20]), Err(SealError::Damaged));
        let other = master_keys();
        assert!(matches!(other.check(&[b"ab", b"c"], &tag), Err(SealError::OtherMasterKey { .. })));
    }
}
