//! Sockets: bound before anything else is touched, so that a port that is taken changes nothing.
//! What the service manager passed is taken over instead; that is in `passed`.

mod passed;

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

pub use self::passed::{Passed, PassedError};
use crate::config::Listen;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A bound socket.
pub enum Bound {
    /// A TCP address.
    Tcp(TcpListener),
    /// A Unix socket; its file is removed when this is dropped, where it was made here.
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket, removed on drop, unless another process put its own there.
pub struct SocketFile {
    path: PathBuf,
    inode: Option<u64>,
    made_folder: Option<PathBuf>,
}

/// Who may open a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The daemon's own user.
    Owner,
    /// Also a group: this one, or else the daemon's own.
    Group(Option<u32>),
    /// Everyone: it is public anyway.
    Everyone,
}

/// A place that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {place}: {error}{}", hint(place, error.kind()))]
pub struct BindError {
    /// Where.
    pub place: Listen,
    /// Why.
    pub error: io::Error,
}

/// What to do about it, where that is known.
fn hint(place: &Listen, kind: io::ErrorKind) -> &'static str {
    match (place, kind) {
        (Listen::Tcp(_), io::ErrorKind::AddrInUse) => {
            ": another process has it, perhaps another jwksd or a socket unit of systemd (ss -ltnp \
             shows which); stop that, or change this listen in the configuration"
        }
        (Listen::Unix(_), io::ErrorKind::AddrInUse) => {
            ", perhaps another jwksd (ss -lxp shows which); stop that, or change this listen in the \
             configuration"
        }
        (Listen::Tcp(_), io::ErrorKind::AddrNotAvailable) => {
            ": this machine does not have that address; change this listen in the configuration"
        }
        (Listen::Tcp(_), io::ErrorKind::PermissionDenied) => {
            ": ports below 1024 need CAP_NET_BIND_SERVICE or a socket unit of systemd; or take a \
             higher one"
        }
        _ => "",
    }
}

/// Takes the socket that was passed for this place, or else binds one. A Unix socket that nobody
/// accepts on is replaced; it is never open to more than `access` says, not even for a moment.
///
/// # Errors
///
/// [`BindError`].
pub fn bind(place: &Listen, access: Access, passed: &mut Passed) -> Result<Bound, BindError> {
    if let Some(bound) = passed.take(place, access) {
        return Ok(bound);
    }
    let bound = match place {
        Listen::Tcp(address) => bind_tcp(address).map(Bound::Tcp),
        Listen::Unix(path) => bind_unix(path, access),
    };
    bound.map_err(|error| BindError { place: place.clone(), error })
}

impl Bound {
    /// Where it listens, with the port that was given for port 0.
    #[must_use]
    pub fn place(&self) -> Listen {
        match self {
            Self::Tcp(listener) => {
                let address = listener.local_addr().map(|address| address.to_string());
                Listen::Tcp(address.unwrap_or_else(|_| "unknown".to_owned()))
            }
            Self::Unix(_, file) => Listen::Unix(file.path.clone()),
        }
    }
}

impl SocketFile {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), inode: None, made_folder: None }
    }

    /// The file of a socket that was made elsewhere: it is not removed.
    fn of_another(path: &Path) -> Self {
        Self::new(path)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.inode.is_some() && self.inode == inode(&self.path) {
            // It may have been removed already.
            let _ = fs::remove_file(&self.path);
        }
        if let Some(folder) = &self.made_folder {
            // It stays where anything else was put into it.
            let _ = fs::remove_dir(folder);
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|metadata| metadata.ino())
}

fn bind_tcp(address: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn bind_unix(path: &Path, access: Access) -> io::Result<Bound> {
    let mut file = SocketFile::new(path);
    remove_stale(path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
        && !folder.exists()
    {
        fs::create_dir_all(folder)?;
        file.made_folder = Some(folder.to_owned());
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // On Linux the file gets the mode of the socket, so it is closed to others from the start.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    file.inode = inode(path);
    let mode = match access {
        Access::Owner => 0o600,
        Access::Group(group) => {
            if let Some(group) = group {
                let group = rustix::process::Gid::from_raw(group);
                rustix::fs::chown(path, None, Some(group))?;
            }
            0o660
        }
        Access::Everyone => 0o666,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(Bound::Unix(UnixListener::from(socket), file))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        let message = "there is a file that is not a socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    // Without blocking: a full backlog is a listener too.
    let probe = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    match rustix::net::connect(&probe, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path),
        Err(Errno::NOENT) => Ok(()),
        Ok(()) | Err(Errno::AGAIN) => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"))
        }
        Err(other) => Err(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(place: &Listen, access: Access) -> Result<Bound, BindError> {
        super::bind(place, access, &mut Passed::default())
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_unix_socket_is_open_to_whom_it_is_for() {
        let dir = tempfile::tempdir().unwrap();
        let cases =
            [(Access::Owner, 0o600), (Access::Group(None), 0o660), (Access::Everyone, 0o666)];
        for (access, expected) in cases {
            let path = dir.path().join("s");
            let bound = bind(&Listen::Unix(path.clone()), access).unwrap();
            assert_eq!(mode(&path), expected);
            drop(bound);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_used_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let place = Listen::Unix(dir.path().join("s"));
        // Left behind by a process that was killed.
        drop(UnixListener::bind(dir.path().join("s")).unwrap());
        let _first = bind(&place, Access::Owner).unwrap();
        let second = bind(&place, Access::Owner).err().unwrap();
        assert_eq!(second.error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_socket_that_another_process_put_there_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let place = Listen::Unix(dir.path().join("s"));
        let first = bind(&place, Access::Owner).unwrap();
        fs::remove_file(dir.path().join("s")).unwrap();
        let _second = bind(&place, Access::Owner).unwrap();
        drop(first);
        assert!(dir.path().join("s").exists());
    }

    #[test]
    fn a_socket_of_another_kind_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _other = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        assert!(bind(&Listen::Unix(path.clone()), Access::Owner).is_err());
        assert!(path.exists());
    }

    #[test]
    fn a_file_that_is_not_a_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        fs::write(&path, "x").unwrap();
        assert!(bind(&Listen::Unix(path.clone()), Access::Owner).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_that_names_it() {
        let first = bind(&Listen::Tcp("127.0.0.1:0".into()), Access::Owner).unwrap();
        let error = bind(&first.place(), Access::Owner).err().unwrap();
        assert!(error.to_string().contains(&first.place().to_string()), "{error}");
    }

    #[test]
    fn a_place_that_cannot_be_had_is_an_error_that_says_what_to_do() {
        // 192.0.2.0/24 is for examples (RFC 5737): no machine has it.
        let error = bind(&Listen::Tcp("192.0.2.1:0".into()), Access::Owner).err().unwrap();
        assert!(error.to_string().contains("this machine does not have"), "{error}");
        let said = |place: Listen, kind: io::ErrorKind| {
            BindError { place, error: kind.into() }.to_string()
        };
        let low = said(Listen::Tcp("127.0.0.1:80".into()), io::ErrorKind::PermissionDenied);
        assert!(low.contains("127.0.0.1:80") && low.contains("below 1024"), "{low}");
        let socket = said(Listen::Unix("s".into()), io::ErrorKind::PermissionDenied);
        assert!(!socket.contains("1024"), "{socket}");
    }
}
