//! Key files that are JWKs.

use jwksd_keystore::import::Material;
use serde_json::Value;

use super::import::{check, read};

/// What a public JWK does not have (RFC 7518, section 6).
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/// What is taken signs, has the `kid` that it had, and without its private half is the same public key.
///
/// # Panics
///
/// When that does not hold.
pub fn run(data: &[u8]) {
    let Some(imported) = read(data) else { return };
    if let Ok(mut jwk) = serde_json::from_slice::<Value>(data) {
        if let Some(only) = jwk.get("keys").and_then(|keys| keys.get(0)).cloned() {
            jwk = only;
        }
        let kid = imported.kid().map(ToString::to_string);
        assert_eq!(jwk["kid"].as_str(), kid.as_deref());
        if let Value::Object(members) = &mut jwk {
            members.retain(|name, _| !PRIVATE.contains(&name.as_str()));
            members.remove("key_ops");
        }
        let public = read(jwk.to_string().as_bytes()).unwrap();
        assert_eq!((public.public(), public.kid()), (imported.public(), imported.kid()));
        assert!(matches!(public.into_material(), Material::Public(_)));
    }
    check(imported);
}
