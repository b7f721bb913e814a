//! The user who is to own the store, since the daemon will run as this user.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, bail};
use rustix::fs::Mode;
use rustix::process::{Gid, Uid};

/// A user, and the user's own group.
pub(in crate::cli) struct Owner {
    uid: Uid,
    gid: Gid,
}

impl Owner {
    /// Before anything is made: only root can go on.
    pub(in crate::cli) fn named(name: &str) -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("only root can make a store for another user");
        }
        let user = uzers::get_user_by_name(name)
            .with_context(|| format!("there is no user {name:?} on this machine"))?;
        let (uid, gid) = (user.uid(), user.primary_group_id());
        Ok(Self { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) })
    }

    /// Makes a folder of mode 0700 for this user where there is none. What is there stays as it is.
    pub(in crate::cli) fn make_folder(&self, folder: &Path) -> anyhow::Result<()> {
        let failed = || format!("cannot make {} for another user", folder.display());
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).with_context(failed)?;
        }
        match DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => {
                rustix::fs::chown(folder, Some(self.uid), Some(self.gid)).with_context(failed)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.check_folder(folder),
            Err(error) => Err(error).with_context(failed),
        }
    }

    /// Whether this user can make a store there, before anything else is made.
    fn check_folder(&self, folder: &Path) -> anyhow::Result<()> {
        let metadata =
            fs::metadata(folder).with_context(|| format!("cannot look at {}", folder.display()))?;
        if metadata.uid() != self.uid.as_raw() || metadata.mode() & 0o300 != 0o300 {
            bail!(
                "{} does not belong to the owner of the store, or is not writable for this user: \
                 chown it, or remove it if it is empty",
                folder.display()
            );
        }
        Ok(())
    }

    /// Turns this thread, and all that it starts from now on, into this user for good. Root must
    /// not write where another user can change what a path leads to.
    pub(in crate::cli) fn assume(&self) -> anyhow::Result<()> {
        rustix::thread::set_thread_groups(&[self.gid])
            .and_then(|()| rustix::thread::set_thread_gid(self.gid))
            .and_then(|()| rustix::thread::set_thread_uid(self.uid))
            .context("cannot become the owner of the store")?;
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
        Ok(())
    }
}
