//! A long text in chunks, which open only in their order, all of them, and with nothing after them.
//!
//! Each chunk is sealed with AES-256-GCM-SIV (RFC 8452) under a key that seals one text alone. Its
//! nonce is its position and whether it is the last: the STREAM construction of Hoang, Reyhanitabar,
//! Rogaway and Vizár.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::CryptoError;

/// How much longer a chunk is when it is sealed.
pub(crate) const TAG_BYTES: usize = 16;

/// A key that seals the chunks of one text, and no other.
pub(crate) struct ChunkKey(LessSafeKey);

/// Whether another chunk follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follows {
    /// One does.
    Another,
    /// It is the last.
    Nothing,
}

impl ChunkKey {
    pub(super) fn new(key: &[u8; 32]) -> Result<Self, CryptoError> {
        let key = UnboundKey::new(&AES_256_GCM_SIV, key).map_err(|_| CryptoError::Generate)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Seals the chunk at a position in place, and appends its tag.
    pub(crate) fn seal(
        &self,
        position: u64,
        follows: Follows,
        associated: &[u8],
        chunk: &mut Vec<u8>,
    ) -> Result<(), CryptoError> {
        self.0
            .seal_in_place_append_tag(nonce(position, follows), Aad::from(associated), chunk)
            .map_err(|_| CryptoError::Generate)
    }

    /// Opens in place what [`ChunkKey::seal`] made at this position, and cuts its tag off.
    pub(crate) fn open(
        &self,
        position: u64,
        follows: Follows,
        associated: &[u8],
        chunk: &mut Vec<u8>,
    ) -> Result<(), CryptoError> {
        let length = self
            .0
            .open_in_place(nonce(position, follows), Aad::from(associated), chunk)
            .map_err(|_| CryptoError::Open)?
            .len();
        chunk.truncate(length);
        Ok(())
    }
}

fn nonce(position: u64, follows: Follows) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[3..11].copy_from_slice(&position.to_be_bytes());
    nonce[11] = match follows {
        Follows::Another => 0,
        Follows::Nothing => 1,
    };
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_opens_only_at_its_place() {
        let key = ChunkKey::new(&[7; 32]).unwrap();
        let mut sealed = b"rows".to_vec();
        key.seal(1, Follows::Another, b"of", &mut sealed).unwrap();
        assert_eq!(sealed.len(), 4 + TAG_BYTES);
        let open = |key: &ChunkKey, position, follows, associated: &[u8]| {
            let mut chunk = sealed.clone();
            key.open(position, follows, associated, &mut chunk).map(|()| chunk)
        };
        assert_eq!(open(&key, 1, Follows::Another, b"of"), Ok(b"rows".to_vec()));
        assert_eq!(open(&key, 0, Follows::Another, b"of"), Err(CryptoError::Open));
        assert_eq!(open(&key, 1, Follows::Nothing, b"of"), Err(CryptoError::Open));
        assert_eq!(open(&key, 1, Follows::Another, b"or"), Err(CryptoError::Open));
        let other = ChunkKey::new(&[8; 32]).unwrap();
        assert_eq!(open(&other, 1, Follows::Another, b"of"), Err(CryptoError::Open));
    }
}
