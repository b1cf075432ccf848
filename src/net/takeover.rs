//! From rustls to our own record layer: whether a connection can go on without rustls, and the moment it does.
//!
//! rustls gives out keys and numbers, but no secrets, and without those no key could ever be updated. So they are caught
//! in the handshake (`tls::secrets`), and must lead to the keys that rustls gives out.
//!
//! Nothing may be left in rustls. Not of what was read: beneath it is `whole`, and what it has decrypted is taken out. Not
//! of what was written: what it still has to send keeps the connection with it.

use std::io::{ErrorKind, Read};

use rustls::{ConnectionCommon, ConnectionTrafficSecrets, Error, ExtractedSecrets, ProtocolVersion, SideData};
use tokio_rustls::{client, server};

use super::sealed::Sealed;
use super::whole::WholeRecords;
use crate::record::{Extracted, Secrets, Session, Side, Suite};

/// A connection after its handshake.
#[derive(Debug)]
pub(super) struct Shaken<T> {
    pub(super) tls: T,
    /// Where it may become a tunnel.
    pub(super) secrets: Option<Secrets>,
}

/// What became of it, and what rustls had decrypted.
type Taken<T> = (Result<Sealed, Shaken<T>>, Vec<u8>);

/// Takes over a client's connection.
pub(super) fn of_client(shaken: Shaken<server::TlsStream<WholeRecords>>) -> Taken<server::TlsStream<WholeRecords>> {
    let Shaken { mut tls, secrets } = shaken;
    let mut read = Vec::new();
    let (below, connection) = tls.get_mut();
    let Some((secrets, (suite, ended))) = secrets.zip(is_ready(below, connection, &mut read)) else {
        return (Err(Shaken { tls, secrets: None }), read);
    };
    let (below, connection) = tls.into_inner();
    let session = session(connection.dangerous_extract_secrets(), suite, Side::Server, &secrets);
    (Ok(sealed(below, session, ended)), read)
}

/// Takes over a connection to a backend.
pub(super) fn of_backend(shaken: Shaken<client::TlsStream<WholeRecords>>) -> Taken<client::TlsStream<WholeRecords>> {
    let Shaken { mut tls, secrets } = shaken;
    let mut read = Vec::new();
    let (below, connection) = tls.get_mut();
    let Some((secrets, (suite, ended))) = secrets.zip(is_ready(below, connection, &mut read)) else {
        return (Err(Shaken { tls, secrets: None }), read);
    };
    let (below, connection) = tls.into_inner();
    let session = session(connection.dangerous_extract_secrets(), suite, Side::Client, &secrets);
    (Ok(sealed(below, session, ended)), read)
}

/// Whether rustls can let go: with which suite, and whether the peer has said `close_notify`. Takes what is decrypted.
fn is_ready<S: SideData>(below: &WholeRecords, tls: &mut ConnectionCommon<S>, read: &mut Vec<u8>) -> Option<(Suite, bool)> {
    if tls.protocol_version() != Some(ProtocolVersion::TLSv1_3) || tls.is_handshaking() || !below.is_between_records() {
        return None;
    }
    let suite = Suite::of(u16::from(tls.negotiated_cipher_suite().map(|suite| suite.suite())?))?;
    // An answer to an update of the peer's key waits in rustls for the next write, unseen, with our key updated already:
    // a write of nothing brings it where `wants_write` sees it.
    std::io::Write::write(&mut tls.writer(), &[]).ok()?;
    if tls.wants_write() || tls.process_new_packets().is_err() {
        return None;
    }
    match tls.reader().read_to_end(read) {
        Ok(_) => Some((suite, true)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Some((suite, false)),
        Err(_) => None, // an end without close_notify: rustls knows what to say
    }
}

fn session(extracted: Result<ExtractedSecrets, Error>, suite: Suite, side: Side, secrets: &Secrets) -> Option<Session> {
    let ExtractedSecrets { tx, rx } = extracted.ok()?;
    let (ours, theirs) = match side {
        Side::Client => (&secrets.client, &secrets.server),
        Side::Server => (&secrets.server, &secrets.client),
    };
    let (tx_key, tx_iv) = parts(&tx.1)?;
    let (rx_key, rx_iv) = parts(&rx.1)?;
    let ours = Extracted { secret: ours, key: tx_key, iv: tx_iv, number: tx.0 };
    let theirs = Extracted { secret: theirs, key: rx_key, iv: rx_iv, number: rx.0 };
    Session::go_on(suite, side, &ours, &theirs)
}

fn parts(secrets: &ConnectionTrafficSecrets) -> Option<(&[u8], &[u8])> {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => Some((key.as_ref(), iv.as_ref())),
        _ => None,
    }
}

/// rustls has let go, so there is no way back: where the secrets do not lead to its keys, which nothing we know of brings
/// about, the connection is broken.
fn sealed(below: WholeRecords, session: Option<Session>, ended: bool) -> Sealed {
    let (socket, held) = below.into_parts();
    match session {
        Some(session) => Sealed::new(socket, session, held, ended),
        None => Sealed::broken(socket),
    }
}
