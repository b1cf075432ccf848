//! Opening a unix listener: what may be in its place, its mode, and its end. Not accepting on it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

use super::BindError;
use super::bind::BACKLOG;

/// A socket file of ours: removed when dropped, unless another has taken its place meanwhile.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let still_ours = fs::symlink_metadata(&self.path).is_ok_and(|m| m.dev() == self.device && m.ino() == self.inode);
        if still_ours {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Opens a unix listener at `path` with the permission bits `mode`.
///
/// The mode is set between bind and listen: until then every connect is refused, whatever the umask made
/// of the bits, so there is no moment in which the socket is open to more than `mode` says. (The umask
/// itself belongs to the whole process, and other threads make files too.)
pub(super) fn listen(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), BindError> {
    let failed = |doing| move |error: io::Error| BindError::of_path(path.to_owned(), doing, error);
    let address = SockAddr::unix(path).map_err(|_| BindError::PathTooLong(path.to_owned()))?;
    make_room(path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed("opening a socket"))?;
    socket.bind(&address).map_err(failed("binding"))?;
    let file = SocketFile::new(path).map_err(failed("looking at the new socket"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("setting its mode"))?;
    socket.set_nonblocking(true).map_err(failed("setting it non-blocking"))?;
    socket.listen(BACKLOG).map_err(failed("listening"))?;
    let listener = UnixListener::from_std(socket.into()).map_err(failed("handing it to the runtime"))?;
    Ok((listener, file))
}

/// The folder a path is in.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Removes a socket that nobody serves any more; refuses what is anything else.
fn make_room(path: &Path, address: &SockAddr) -> Result<(), BindError> {
    let failed = |doing| move |error: io::Error| BindError::of_path(path.to_owned(), doing, error);
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("looking at what is there")(error)),
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    match probe(address) {
        Ok(()) => Err(BindError::Served(path.to_owned())),
        Err(error) => match error.raw_os_error() {
            // A full queue (EAGAIN) or a datagram socket (EPROTOTYPE): somebody holds it all the same.
            Some(libc::EAGAIN | libc::EPROTOTYPE) => Err(BindError::Served(path.to_owned())),
            Some(libc::ECONNREFUSED) => match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("removing the stale socket")(error)),
                _ => Ok(()),
            },
            Some(libc::ENOENT) => Ok(()),
            _ => Err(failed("trying whether another process serves there")(error)),
        },
    }
}

/// Connects once. Non-blocking, because a connect to a full queue would wait for as long as it is full.
fn probe(address: &SockAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)
}
