//! Why a key file was not taken.

use crate::SecondOpinionError;
use crate::algorithm::{Algorithm, Family};
use crate::import::Kind;

/// Why a key file was not taken. No text holds anything of the file but sizes and places.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// It is longer than any key.
    #[error("the file is no key: no key file that is read here has more than {limit} bytes")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The longest that is read.
        limit: usize,
    },
    /// It is binary, or text in another encoding than UTF-8.
    #[error(
        "the file is not UTF-8 text; a key in DER becomes one with `openssl pkey -inform DER -in FILE`"
    )]
    NotText,
    /// PKCS#12.
    #[error(
        "the file is a PKCS#12 container; take the key out with `openssl pkcs12 -nocerts -in FILE`"
    )]
    Pkcs12,
    /// A Java key store.
    #[error(
        "the file is a Java key store; turn it into PKCS#12 with `keytool -importkeystore`, then take the key out with `openssl pkcs12 -nocerts`"
    )]
    JavaKeyStore,
    /// A private key of `PuTTY`.
    #[error("the file is in PuTTY's format; convert it with `puttygen FILE -O private-openssh`")]
    Putty,
    /// A reference to a key in an HSM, a token or a TPM.
    #[error("the file names a key in an HSM, a token or a TPM; that key cannot be taken out")]
    Hardware,
    /// A key of `OpenPGP`.
    #[error("the file is an OpenPGP key, which is not for signing tokens")]
    OpenPgp,
    /// A certificate, or a request for one.
    #[error("the file is a certificate or a request for one; give the key itself")]
    Certificate,
    /// None of the formats that are read.
    #[error(
        "the file is no key in a format that is read here: PKCS#8, PKCS#1, SEC1 or OpenSSH in PEM, an OpenSSH public key, or a JWK"
    )]
    UnknownFormat,
    /// More than one key.
    #[error("the file holds {0} keys; give it with one")]
    Several(usize),
    /// The lines of a PEM block are damaged.
    #[error("the PEM block is damaged: {0}")]
    Pem(PemFault),
    /// What the text encodes does not parse.
    #[error("the file does not parse as {0}")]
    Damaged(Form),
    /// The JSON of a JWK does not parse.
    #[error("the JWK is not JSON as it should be, from line {line}, column {column} on")]
    Json {
        /// Counted from one.
        line: usize,
        /// Counted from one.
        column: usize,
    },
    /// A member of a JWK is missing, or not what it should be.
    #[error("the JWK has no `{0}`, or one that it should not have")]
    JwkMember(&'static str),
    /// The JWK says that it is not for signatures.
    #[error("the JWK says in `{0}` that its key is not for signing")]
    NotForSigning(&'static str),
    /// The JWK is for another algorithm.
    #[error("the JWK says that its key is for {declared}, and the key set has {wanted}")]
    OtherAlgorithm {
        /// Its `alg`.
        declared: &'static str,
        /// That of the key set.
        wanted: Algorithm,
    },
    /// The file is encrypted, and there is no passphrase.
    #[error("the file is encrypted, and no passphrase was given")]
    PassphraseNeeded,
    /// The passphrase does not open the file.
    #[error("the passphrase is wrong, or the file is damaged")]
    WrongPassphrase,
    /// It is encrypted in a way that is not read.
    #[error(
        "the file is encrypted in a way that is not read here; encrypt it anew with `openssl pkcs8 -topk8 -v2 aes-256-cbc`, or with `ssh-keygen -p`"
    )]
    UnknownCipher,
    /// Making the key from the passphrase would cost too much.
    #[error(
        "the file asks for {work} {unit} to make a key from its passphrase; no more than {limit} are done here"
    )]
    TooCostly {
        /// What it asks for.
        work: u64,
        /// Of what.
        unit: &'static str,
        /// The most that is done.
        limit: u64,
    },
    /// A kind of key that no algorithm of JOSE that is supported here has.
    #[error("the file holds a key of {0}, with which nothing is signed here")]
    UnknownKind(&'static str),
    /// A curve other than P-256, P-384 and P-521.
    #[error("the key is on {0}; only P-256, P-384 and P-521 are taken")]
    UnknownCurve(&'static str),
    /// An RSA key that can be broken.
    #[error("the RSA key has {bits} bits, which is too weak; 2048, 3072 and 4096 are taken")]
    RsaTooWeak {
        /// Of its modulus.
        bits: usize,
    },
    /// An RSA key of a size that no algorithm here has.
    #[error("the RSA key has {bits} bits; 2048, 3072 and 4096 are taken")]
    RsaSize {
        /// Of its modulus.
        bits: usize,
    },
    /// The public exponent of an RSA key.
    #[error("the public exponent of the RSA key {0}")]
    RsaExponent(ExponentFault),
    /// The modulus has a factor that anyone finds.
    #[error("the modulus of the RSA key has a small factor, so anyone can break it")]
    RsaSmallFactor,
    /// Made by a library whose keys can be factored (CVE-2017-15361).
    #[error("the RSA key was made by a faulty library of Infineon (ROCA), so it can be broken")]
    RsaRoca,
    /// More than two primes.
    #[error("the RSA key has more than two primes, which few libraries take")]
    RsaMultiPrime,
    /// The primes are not those of the modulus.
    #[error("the primes of the RSA key are not those of its modulus")]
    RsaPrimes,
    /// The primes make it easy to break.
    #[error(
        "the primes of the RSA key are of different lengths or too close to each other, which makes it weak"
    )]
    RsaWeakPrimes,
    /// The private exponent does not belong to the rest.
    #[error("the private exponent of the RSA key does not belong to its public half")]
    RsaPrivateExponent,
    /// The private exponent makes it easy to break.
    #[error("the private exponent of the RSA key is so small that anyone can find it")]
    RsaWeakPrivateExponent,
    /// `dP`, `dQ` or `qInv` do not belong to the rest.
    #[error("the values of the RSA key for the Chinese remainder theorem are wrong")]
    RsaCrt,
    /// Not a point of the curve.
    #[error("the public half is not a point on {0}")]
    NotOnCurve(&'static str),
    /// A point with which forged signatures verify.
    #[error("the public half is a point of small order, for which anyone can make signatures")]
    WeakPoint,
    /// The private half is zero, too large, or of another length.
    #[error("the private half is not one of a key on {0}")]
    PrivateHalf(&'static str),
    /// The halves are those of two keys.
    #[error("the public half in the file is not that of the private half")]
    Mismatch,
    /// What the key signs does not verify, or the library refuses it.
    #[error("the key does not work: {0}")]
    Useless(#[from] SecondOpinionError),
    /// There is only a public half.
    #[error("the file holds only a public key; signing takes the private one")]
    PublicOnly,
    /// The key is of another kind than the algorithm.
    #[error("the key is {kind}, and {wanted} takes another{}", advice(*kind, *wanted))]
    Misfit {
        /// What it is.
        kind: Kind,
        /// What was wanted.
        wanted: Algorithm,
    },
}

/// How the key set can have a key of another size.
fn advice(kind: Kind, wanted: Algorithm) -> String {
    match (kind, wanted.family()) {
        (Kind::Rsa(bits), Family::Rsa(..)) => {
            format!(": set rsa_bits = {} in the key set", bits.as_u32())
        }
        (Kind::Rsa(_) | Kind::Ec(_) | Kind::Ed25519, _) => String::new(),
    }
}

/// What is wrong with a PEM block (RFC 7468).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemFault {
    /// No end, or the end of another block.
    #[error("its END line is missing")]
    NoEnd,
    /// Characters that do not belong there, or too few of them.
    #[error("it is not base64")]
    Base64,
    /// A header that is not understood.
    #[error("its headers are not understood")]
    Headers,
}

/// A format of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Form {
    /// RFC 5208 and RFC 5958.
    #[error("PKCS#8")]
    Pkcs8,
    /// `SubjectPublicKeyInfo` (RFC 5280, section 4.1).
    #[error("a public key (SubjectPublicKeyInfo)")]
    Spki,
    /// RFC 8017, appendix A.1.
    #[error("PKCS#1")]
    Pkcs1,
    /// RFC 5915.
    #[error("SEC1")]
    Sec1,
    /// `PROTOCOL.key` of OpenSSH.
    #[error("an OpenSSH key")]
    OpenSsh,
}

/// What is wrong with the public exponent of an RSA key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExponentFault {
    /// Below 65537 (FIPS 186-5, appendix A.1.1).
    #[error("is smaller than 65537")]
    Small,
    /// Not odd.
    #[error("is even, so it is no RSA key")]
    Even,
    /// Above 2^31 - 1: Go's verifiers refuse it.
    #[error("is larger than 2147483647, which many verifiers refuse")]
    Large,
}
