//! Pure: rustls on the other end, in memory: after its handshake one side goes on with our record layer.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, ConnectionTrafficSecrets, KeyLog, RootCertStore, ServerConfig, ServerConnection,
};

use super::*;

#[derive(Debug, Default)]
struct Log(Mutex<(Option<Secret>, Option<Secret>)>);

impl KeyLog for Log {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        let mut told = self.0.lock().unwrap();
        match label {
            "CLIENT_TRAFFIC_SECRET_0" => told.0 = Secret::of(secret),
            "SERVER_TRAFFIC_SECRET_0" => told.1 = Secret::of(secret),
            _ => {}
        }
    }
}

/// A handshake in memory. Ours goes on as a session, theirs stays with rustls.
fn shaken(side: Side, suite: Suite, updates: usize) -> (Session, Connection) {
    let one = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let mut crypto: CryptoProvider = provider::default_provider();
    crypto.cipher_suites.retain(|known| Suite::of(known.suite().into()) == Some(suite));
    let (crypto, log) = (Arc::new(crypto), Arc::new(Log::default()));
    let versions = &[&rustls::version::TLS13];
    let mut roots = RootCertStore::empty();
    roots.add(one.cert.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(crypto.clone()).with_protocol_versions(versions).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.key_log = log.clone();
    config.enable_secret_extraction = true;
    let mut client = Connection::from(ClientConnection::new(config.into(), ServerName::try_from("a.test").unwrap()).unwrap());
    let key = PrivateKeyDer::try_from(one.signing_key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(crypto).with_protocol_versions(versions).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![one.cert.der().clone()], key).unwrap();
    config.enable_secret_extraction = true;
    let mut server = Connection::from(ServerConnection::new(config.into()).unwrap());
    talk(&mut client, &mut server);
    assert!(!client.is_handshaking() && !server.is_handshaking());
    for _ in 0..updates {
        client.refresh_traffic_keys().unwrap();
        read(&mut server, &written(&mut client)).unwrap();
        server.writer().write_all(b"x").unwrap(); // with it goes what answers the update
        assert_eq!(read(&mut client, &written(&mut server)).unwrap(), b"x");
    }
    let (ours, theirs) = if side == Side::Client { (client, server) } else { (server, client) };
    let secrets = ours.dangerous_extract_secrets().unwrap();
    let told = log.0.lock().unwrap();
    let (of_client, of_server) = (told.0.as_ref().unwrap(), told.1.as_ref().unwrap());
    let (tx, rx) = if side == Side::Client { (of_client, of_server) } else { (of_server, of_client) };
    let (key, iv) = parts(&secrets.tx.1);
    let ours = Extracted { secret: tx, key, iv, number: secrets.tx.0 };
    let (key, iv) = parts(&secrets.rx.1);
    let extracted = Extracted { secret: rx, key, iv, number: secrets.rx.0 };
    (Session::go_on(suite, side, &ours, &extracted).unwrap(), theirs)
}

fn parts(secrets: &ConnectionTrafficSecrets) -> (&[u8], &[u8]) {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key.as_ref(), iv.as_ref()),
        _ => panic!("another suite"),
    }
}

/// Until neither has anything to say.
fn talk(one: &mut Connection, other: &mut Connection) {
    loop {
        let (there, back) = (written(one), written(other));
        if there.is_empty() && back.is_empty() {
            return;
        }
        read(other, &there).unwrap();
        read(one, &back).unwrap();
    }
}

fn written(of: &mut Connection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while of.wants_write() {
        of.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// What rustls makes of these records.
fn read(to: &mut Connection, mut records: &[u8]) -> Result<Vec<u8>, rustls::Error> {
    let mut data = Vec::new();
    while !records.is_empty() {
        to.read_tls(&mut records).unwrap();
        to.process_new_packets()?;
        to.reader().read_to_end(&mut data).ok(); // WouldBlock, behind all that is there
    }
    Ok(data)
}

#[derive(Clone, Debug)]
enum Step {
    /// We send so many bytes.
    Send(usize),
    /// rustls does.
    Receive(usize),
    /// rustls updates its key and asks for ours.
    TheirUpdate,
    /// Ours is worn out.
    OurUpdate,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![1..200usize, 1..40_000usize, Just(MOST_PLAIN), Just(MOST_PLAIN + 1)];
    let step = prop_oneof![
        4 => size.clone().prop_map(Step::Send),
        4 => size.prop_map(Step::Receive),
        1 => Just(Step::TheirUpdate),
        1 => Just(Step::OurUpdate)
    ];
    prop::collection::vec(step, 1..30)
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|n| u8::try_from(n % 253).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn rustls_understands_all_we_say_and_we_all_it_says(
        steps in steps(), suite in prop::sample::select(SUITES.to_vec()),
        side in prop::sample::select(vec![Side::Client, Side::Server]), updates in 0..3usize,
    ) {
        let (mut ours, mut theirs) = shaken(side, suite, updates);
        for step in steps {
            match step {
                Step::Send(size) => {
                    let records = seal(&mut ours, &pattern(size));
                    prop_assert!(read(&mut theirs, &records).unwrap() == pattern(size));
                }
                Step::Receive(size) => {
                    theirs.writer().write_all(&pattern(size)).unwrap();
                    let records = written(&mut theirs);
                    prop_assert!(open_all(&mut ours, &records).unwrap() == pattern(size));
                }
                Step::TheirUpdate => {
                    theirs.refresh_traffic_keys().unwrap();
                    let records = written(&mut theirs);
                    prop_assert!(open_all(&mut ours, &records).unwrap().is_empty());
                    prop_assert!(ours.owes());
                }
                Step::OurUpdate => ours.wear_out(),
            }
        }
        let mut end = [0; 100];
        let n = ours.seal_end(Alert::CloseNotify, &mut end).unwrap();
        theirs.read_tls(&mut &end[..n]).unwrap();
        prop_assert!(theirs.process_new_packets().unwrap().peer_has_closed());
        theirs.send_close_notify();
        let records = written(&mut theirs);
        open_all(&mut ours, &records).unwrap();
        prop_assert!(ours.has_heard_end());
    }

    #[test]
    fn whatever_comes_is_opened_or_refused_and_never_both(
        mut noise in prop::collection::vec(any::<u8>(), 0..200), length in 0..200u16,
    ) {
        let (mut server, _) = pair(Suite::Aes128GcmSha256);
        if noise.len() > 4 {
            noise[0] = 23;
            noise[3..5].copy_from_slice(&length.to_be_bytes());
        }
        if let Ok(Some(whole)) = record_bytes(&noise) && let Some(record) = noise.get(..whole) {
            prop_assert_eq!(open(&mut server, record).unwrap_err(), Fault::Ours(Alert::BadRecordMac));
        }
    }
}

#[test]
fn rustls_is_told_by_an_alert_what_was_wrong() {
    let (mut ours, mut theirs) = shaken(Side::Server, Suite::Aes128GcmSha256, 0);
    let mut alert = [0; 100];
    let n = ours.seal_end(Alert::BadRecordMac, &mut alert).unwrap();
    let error = read(&mut theirs, &alert[..n]).unwrap_err();
    assert_eq!(error, rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
}
