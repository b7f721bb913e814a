//! Key files in PEM and OpenSSH's public lines, as text; or their content, after one byte that says as
//! what.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::import::{check, read};

/// What content is given as.
const LABELS: [&str; 8] = [
    "PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "RSA PRIVATE KEY",
    "EC PRIVATE KEY",
    "OPENSSH PRIVATE KEY",
    "PUBLIC KEY",
    "RSA PUBLIC KEY",
    "CERTIFICATE",
];

/// What is taken signs; how lines end does not matter.
///
/// # Panics
///
/// When that does not hold.
pub fn run(data: &[u8]) {
    let file = match data.split_first() {
        Some((&label, content)) if usize::from(label) < LABELS.len() => {
            armoured(LABELS[usize::from(label)], content).into_bytes()
        }
        _ => data.to_vec(),
    };
    let Some(imported) = read(&file) else { return };
    let text = String::from_utf8(file).unwrap();
    if !text.contains('\r') {
        let again = read(text.replace('\n', "\r\n").as_bytes()).unwrap();
        assert_eq!((again.public(), again.kind()), (imported.public(), imported.kind()));
    }
    check(imported);
}

/// Content in PEM (RFC 7468).
fn armoured(label: &str, content: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(content);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text += &String::from_utf8_lossy(line);
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}
