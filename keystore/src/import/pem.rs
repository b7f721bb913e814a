//! PEM (RFC 7468), and the headers of encrypted PEM of old (RFC 1421).
//!
//! Own code, because what is around a block, lines of any length, and headers must be read, and
//! nothing of a secret be left behind; the crates for it lack one or the other.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use super::error::{ImportError, PemFault};

/// A key in PEM.
pub(super) struct Block<'a> {
    pub(super) label: Label,
    /// How it is encrypted: the `DEK-Info` header.
    pub(super) encryption: Option<&'a str>,
    pub(super) content: Zeroizing<Vec<u8>>,
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Pkcs8,
    EncryptedPkcs8,
    Pkcs1,
    Sec1,
    OpenSsh,
    Spki,
    Pkcs1Public,
}

/// What the name of a block says of it.
enum Meaning {
    Key(Label),
    Certificate,
    /// Parameters, which the key has too.
    Nothing,
    Refused(ImportError),
}

/// A block as it stands in the text.
struct Raw<'a> {
    name: &'a str,
    lines: Vec<&'a str>,
}

/// The one key in the text. Certificates beside it do not count. `None` when no PEM is there.
pub(super) fn only_key(text: &str) -> Result<Option<Block<'_>>, ImportError> {
    let raw = blocks(text)?;
    let found = raw.len();
    let (mut keys, mut certificates) = (Vec::new(), 0);
    for block in raw {
        match meaning(block.name) {
            Meaning::Key(label) => keys.push((label, block.lines)),
            Meaning::Certificate => certificates += 1,
            Meaning::Nothing => (),
            Meaning::Refused(reason) => return Err(reason),
        }
    }
    match (keys.len(), keys.pop()) {
        (1, Some((label, lines))) => block(label, &lines).map(Some),
        (0, _) if certificates > 0 => Err(ImportError::Certificate),
        (0, _) if found > 0 => Err(ImportError::UnknownFormat),
        (0, _) => Ok(None),
        (several, _) => Err(ImportError::Several(several)),
    }
}

fn meaning(name: &str) -> Meaning {
    match name {
        "PRIVATE KEY" => Meaning::Key(Label::Pkcs8),
        "ENCRYPTED PRIVATE KEY" => Meaning::Key(Label::EncryptedPkcs8),
        "RSA PRIVATE KEY" => Meaning::Key(Label::Pkcs1),
        "EC PRIVATE KEY" => Meaning::Key(Label::Sec1),
        "OPENSSH PRIVATE KEY" => Meaning::Key(Label::OpenSsh),
        "PUBLIC KEY" => Meaning::Key(Label::Spki),
        "RSA PUBLIC KEY" => Meaning::Key(Label::Pkcs1Public),
        "CERTIFICATE"
        | "X509 CERTIFICATE"
        | "TRUSTED CERTIFICATE"
        | "CERTIFICATE REQUEST"
        | "NEW CERTIFICATE REQUEST"
        | "PKCS7"
        | "CMS" => Meaning::Certificate,
        "EC PARAMETERS" => Meaning::Nothing,
        "DSA PRIVATE KEY" | "DSA PUBLIC KEY" | "DSA PARAMETERS" => {
            Meaning::Refused(ImportError::UnknownKind("DSA"))
        }
        "TSS2 PRIVATE KEY" | "TSS2 KEY BLOB" | "PKCS11 PROVIDER URI" => {
            Meaning::Refused(ImportError::Hardware)
        }
        "PGP PRIVATE KEY BLOCK" | "PGP PUBLIC KEY BLOCK" => Meaning::Refused(ImportError::OpenPgp),
        _ => Meaning::Refused(ImportError::UnknownFormat),
    }
}

/// All blocks, in their order. Text around them is not looked at (RFC 7468, section 2).
fn blocks(text: &str) -> Result<Vec<Raw<'_>>, ImportError> {
    let mut blocks = Vec::new();
    let mut open: Option<Raw<'_>> = None;
    for line in text.lines().map(str::trim_end) {
        match &mut open {
            None => {
                if let Some(name) = boundary(line, "-----BEGIN ") {
                    open = Some(Raw { name, lines: Vec::new() });
                }
            }
            Some(block) if line.starts_with("-----") => {
                if boundary(line, "-----END ") != Some(block.name) {
                    return Err(ImportError::Pem(PemFault::NoEnd));
                }
                blocks.extend(open.take());
            }
            Some(block) => block.lines.push(line),
        }
    }
    if open.is_some() { Err(ImportError::Pem(PemFault::NoEnd)) } else { Ok(blocks) }
}

fn boundary<'a>(line: &'a str, begin: &str) -> Option<&'a str> {
    line.strip_prefix(begin)?.strip_suffix("-----")
}

fn block<'a>(label: Label, lines: &[&'a str]) -> Result<Block<'a>, ImportError> {
    let headers = lines.iter().take_while(|line| line.contains(':')).count();
    let (headers, body) = lines.split_at(headers);
    let encryption = encryption(headers)?;
    Ok(Block { label, encryption, content: decode(body)? })
}

/// The value of `DEK-Info` (RFC 1421, section 4.6.1.3).
fn encryption<'a>(headers: &[&'a str]) -> Result<Option<&'a str>, ImportError> {
    let (mut encrypted, mut dek_info) = (false, None);
    for header in headers {
        match header.split_once(':') {
            Some(("Proc-Type", value)) => encrypted = value.trim() == "4,ENCRYPTED",
            Some(("DEK-Info", value)) => dek_info = Some(value.trim()),
            // `Comment` and the like.
            Some(_) | None => (),
        }
    }
    match (encrypted, dek_info) {
        (false, None) => Ok(None),
        (true, Some(value)) => Ok(Some(value)),
        (true, None) | (false, Some(_)) => Err(ImportError::Pem(PemFault::Headers)),
    }
}

fn decode(lines: &[&str]) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    let length = lines.iter().map(|line| line.len()).sum();
    // Both are as long as they will ever be: what grows leaves copies behind.
    let mut characters = Zeroizing::new(Vec::with_capacity(length));
    for line in lines {
        characters.extend(line.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    }
    let mut content = Zeroizing::new(vec![0; characters.len().div_ceil(4) * 3]);
    let decoded = BASE64_STANDARD
        .decode_slice(&*characters, &mut content)
        .map_err(|_| ImportError::Pem(PemFault::Base64))?;
    content.truncate(decoded);
    Ok(content)
}
