//! The keys derived from a master key: what seals secrets, and what authenticates rows.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac};
use zeroize::Zeroizing;

use super::chunks::ChunkKey;
use super::{CryptoError, random, stack};

/// The keys derived from one master key: to seal with, to authenticate what is stored, to
/// authenticate the audit, and to seal backups with.
pub(crate) struct DerivedKeys {
    seal: LessSafeKey,
    authenticate: hmac::Key,
    audit: hmac::Key,
    backup: Zeroizing<[u8; 32]>,
    /// What the master key is known by; says nothing about it.
    pub(crate) id: [u8; 8],
}

/// The length of what tells one backup from all others.
pub(crate) const SALT_BYTES: usize = 32;

/// The length of a nonce in front of a ciphertext.
pub(crate) const NONCE_BYTES: usize = NONCE_LEN;

impl DerivedKeys {
    /// Derives the keys with HKDF-SHA-256 (RFC 5869), each under a label of its own.
    pub(crate) fn derive(master_key: &[u8; 32]) -> Result<Self, CryptoError> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"jwksd master key v1");
        let prk = salt.extract(master_key);
        let mut seal = Zeroizing::new([0; 32]);
        let mut authenticate = Zeroizing::new([0; 32]);
        let mut audit = Zeroizing::new([0; 32]);
        let mut backup = Zeroizing::new([0; 32]);
        let mut id = [0; 8];
        expand(&prk, b"seal aes-256-gcm-siv", seal.as_mut())?;
        expand(&prk, b"authenticate hmac-sha-256", authenticate.as_mut())?;
        expand(&prk, b"audit hmac-sha-256", audit.as_mut())?;
        expand(&prk, b"backup hkdf-sha-256", backup.as_mut())?;
        expand(&prk, b"id", &mut id)?;
        let seal = UnboundKey::new(&AES_256_GCM_SIV, seal.as_ref());
        Ok(Self {
            seal: LessSafeKey::new(seal.map_err(|_| CryptoError::Generate)?),
            authenticate: hmac::Key::new(hmac::HMAC_SHA256, authenticate.as_ref()),
            audit: hmac::Key::new(hmac::HMAC_SHA256, audit.as_ref()),
            backup,
            id,
        })
    }

    /// Encrypts with AES-256-GCM-SIV (RFC 8452); returns the nonce and the ciphertext with its
    /// tag.
    pub(crate) fn encrypt(
        &self,
        associated: &[u8],
        plaintext: &[u8],
    ) -> Result<([u8; NONCE_BYTES], Vec<u8>), CryptoError> {
        let nonce: [u8; NONCE_BYTES] = *random()?;
        let mut buffer = Zeroizing::new(Vec::with_capacity(plaintext.len() + 16));
        buffer.extend_from_slice(plaintext);
        let unique = Nonce::assume_unique_for_key(nonce);
        let associated = Aad::from(associated);
        stack::wiped(|| self.seal.seal_in_place_append_tag(unique, associated, &mut *buffer))
            .map_err(|_| CryptoError::Generate)?;
        Ok((nonce, buffer.to_vec()))
    }

    /// Decrypts what [`DerivedKeys::encrypt`] made with the same associated data.
    pub(crate) fn decrypt(
        &self,
        associated: &[u8],
        nonce: [u8; NONCE_BYTES],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let associated = Aad::from(associated);
        let opened = stack::wiped(|| {
            self.seal.open_in_place(nonce, associated, &mut buffer).map(|plaintext| plaintext.len())
        });
        buffer.truncate(opened.map_err(|_| CryptoError::Open)?);
        Ok(buffer)
    }

    /// The key of one backup, which has this salt for itself alone.
    pub(crate) fn of_backup(&self, salt: &[u8; SALT_BYTES]) -> Result<ChunkKey, CryptoError> {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(self.backup.as_ref());
        let mut key = Zeroizing::new([0; 32]);
        expand(&prk, b"chunks aes-256-gcm-siv", key.as_mut())?;
        ChunkKey::new(&key)
    }

    /// The HMAC-SHA-256 of `message`.
    pub(crate) fn tag(&self, message: &[u8]) -> Vec<u8> {
        hmac::sign(&self.authenticate, message).as_ref().to_vec()
    }

    /// Whether `tag` is the HMAC-SHA-256 of `message`.
    pub(crate) fn tag_matches(&self, message: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.authenticate, message, tag).is_ok()
    }

    /// The HMAC-SHA-256 of `message` under the key of the audit.
    pub(crate) fn audit_tag(&self, message: &[u8]) -> Vec<u8> {
        hmac::sign(&self.audit, message).as_ref().to_vec()
    }

    /// Whether `tag` is what [`DerivedKeys::audit_tag`] makes of `message`.
    pub(crate) fn audit_tag_matches(&self, message: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.audit, message, tag).is_ok()
    }
}

fn expand(prk: &hkdf::Prk, label: &[u8], out: &mut [u8]) -> Result<(), CryptoError> {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let labels = [label];
    let okm = prk.expand(&labels, Length(out.len())).map_err(|_| CryptoError::Generate)?;
    okm.fill(out).map_err(|_| CryptoError::Generate)
}
