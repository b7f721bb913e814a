//! PURE but for the working directory: the files of JWK Sets are at places of their own.
//!
//! Paths are compared as text. What leads to one file by two names is for `jwksd check` to find,
//! since looking may take for ever where a disk hangs.

use std::path::{Component, Path, PathBuf};

use super::raw::{Wrong, wrong};
use super::{Config, Listen, ValueError};
use crate::new_file::unfinished;

/// The audit, whose further files are beside it.
const AUDIT: &str = "audit.path";

/// A file or folder, and what it is.
type Owned = (PathBuf, String);

/// The configuration, if each `jwks_file` is a file that nothing else is.
pub(super) fn checked(config: Config, path: &Path) -> Result<Config, Wrong> {
    let mut taken = own(&config, path);
    for (name, keyset) in &config.keysets {
        let Some(file) = &keyset.jwks_file else { continue };
        let place = format!("keysets.{name}.jwks_file");
        let is_folder = file.as_os_str().as_encoded_bytes().ends_with(b"/");
        if file.file_name().is_none() || is_folder {
            return Err(wrong(place, ValueError::NotAFile));
        }
        let (file, new) = (whole(file), whole(&unfinished(file)));
        for path in [&file, &new] {
            if let Some((_, owner)) = taken.iter().find(|owned| clash(owned, path)) {
                let (path, owner) = (path.clone(), owner.clone());
                return Err(wrong(place, ValueError::NotItsOwn { path, owner }));
            }
        }
        let owner = format!("the jwks_file of keysets.{name}");
        taken.push((new, format!("what {owner} is called until it is whole")));
        taken.push((file, owner));
    }
    Ok(config)
}

/// One is the other, is in it, or is what the audit calls its further files.
fn clash((taken, owner): &Owned, path: &Path) -> bool {
    let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
    let is_sibling = owner == AUDIT && bytes(path).starts_with(&[&bytes(taken)[..], b"."].concat());
    path.starts_with(taken) || taken.starts_with(path) || is_sibling
}

/// What is jwksd's own besides.
fn own(config: &Config, path: &Path) -> Vec<Owned> {
    let mut own = vec![
        (config.store.path.clone(), "store.path"),
        (config.store.master_key.clone(), "store.master_key"),
        (config.audit.path.clone(), AUDIT),
        (path.to_owned(), "the configuration"),
    ];
    let tables = [
        ("public.tls", &config.tls.public),
        ("internal.tls", &config.tls.internal),
        ("admin.tls", &config.tls.admin),
    ];
    for (name, files) in tables {
        let files = files.iter();
        let paths =
            files.flat_map(|it| [&it.certificate, &it.key].into_iter().chain(&it.client_ca));
        own.extend(paths.map(|path| (path.clone(), name)));
    }
    let listeners = [
        ("public.listen", &config.public.listen),
        ("internal.listen", &config.internal),
        ("admin.listen", &config.admin),
    ];
    for (name, places) in listeners {
        let socket = |place: &Listen| match place {
            Listen::Unix(path) => Some((path.clone(), name)),
            Listen::Tcp(_) => None,
        };
        own.extend(places.iter().filter_map(socket));
    }
    own.into_iter().map(|(path, owner)| (whole(&path), owner.to_owned())).collect()
}

/// The path from the root, without detours.
fn whole(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut whole = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            Component::CurDir => {}
            other => whole.push(other),
        }
    }
    whole
}
