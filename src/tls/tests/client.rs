//! Our side as a client of a backend.

use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::net::Stream;

fn connector(ca: &Path) -> Connector {
    Connector::new(&ClientSettings { ca: Some(ca.to_owned()), ..ClientSettings::default() }).unwrap()
}

/// Our connector against our own acceptor.
async fn connect(
    acceptor: &Acceptor,
    connector: &Connector,
    host: &str,
    alpn: ClientAlpn,
) -> (Result<(Stream, Alpn), ConnectError>, Result<Secured, AcceptError>) {
    let (near, far) = pair().await;
    tokio::join!(connector.connect(Socket::from(near), host, alpn), acceptor.accept(Socket::from(far), AMPLE, RecordLayer::Own))
}

async fn refused(acceptor: &Acceptor, connector: &Connector, host: &str) -> ConnectError {
    connect(acceptor, connector, host, ClientAlpn::Both).await.0.expect_err("it must not be trusted")
}

#[tokio::test]
async fn names_and_addresses_are_verified_and_alpn_is_as_asked() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(certificates(&[authority.issue(&["a.test", "127.0.0.1", "::1"])]));
    let connector = connector(&authority.file);
    for host in ["a.test", "A.test", "a.test.", "127.0.0.1", "::1"] {
        let (client, server) = connect(&acceptor, &connector, host, ClientAlpn::Both).await;
        let ((mut stream, alpn), mut server) = (client.unwrap(), server.unwrap());
        assert_eq!((alpn, server.alpn), (Alpn::H2, Alpn::H2), "{host}");
        stream.write_all(b"hi").await.unwrap();
        stream.flush().await.unwrap();
        let mut got = [0; 2];
        server.stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hi");
    }
    for (asked, agreed) in [(ClientAlpn::Http1, Alpn::Http1), (ClientAlpn::H2, Alpn::H2)] {
        assert_eq!(connect(&acceptor, &connector, "a.test", asked).await.0.unwrap().1, agreed);
    }
}

#[tokio::test]
async fn a_certificate_for_other_names_is_refused_with_those_names() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(certificates(&[authority.issue(&["a.test", "*.b.test", "127.0.0.1"])]));
    let error = refused(&acceptor, &connector(&authority.file), "c.test").await;
    assert_eq!(error.fault, ConnectFault::Certificate);
    assert_eq!(error.to_string(), "the backend's certificate is not for c.test, but for a.test, *.b.test, 127.0.0.1");
}

#[tokio::test]
async fn an_unknown_authority_is_said_with_the_remedy() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let acceptor = Acceptor::new(certificates(&[authority.issue(&["a.test"])]));
    let error = refused(&acceptor, &connector(&stranger.file), "a.test").await;
    assert_eq!(error.fault, ConnectFault::Certificate);
    assert!(error.to_string().contains("signed by no authority that we trust"), "{error}");
    assert!(error.to_string().contains("`ca`"), "{error}");
}

#[tokio::test]
async fn expired_and_not_yet_valid_are_told_apart() {
    let authority = Authority::new();
    let connector = connector(&authority.file);
    for (from, to, said) in [(2001, 2002, "certificate expired "), (4000, 4001, "certificate is valid only in ")] {
        let files = authority.issue_with(&["a.test"], &PKCS_ECDSA_P256_SHA256, |params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
        });
        let (served, _) = Certificates::load(&settings(&[files]), year(2030)).unwrap();
        let error = refused(&Acceptor::new(served), &connector, "a.test").await;
        assert_eq!(error.fault, ConnectFault::Certificate);
        assert!(error.to_string().contains(said) && error.to_string().contains(" days"), "{error}");
    }
}

/// A self-signed certificate that calls itself an authority, as `openssl req -x509` makes it.
fn self_signed_authority(authority: &Authority, from: i32, to: i32) -> CertificateFiles {
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    let key = KeyPair::generate().unwrap();
    CertificateFiles {
        chain: authority.write("self.pem", params.self_signed(&key).unwrap().pem()),
        key: authority.write("self.key", key.serialize_pem()),
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_when_it_is_the_given_one_and_for_its_names_only() {
    let authority = Authority::new();
    let files = self_signed_authority(&authority, FROM, TO);
    let acceptor = Acceptor::new(certificates(std::slice::from_ref(&files)));
    let given = connector(&files.chain);
    connect(&acceptor, &given, "a.test", ClientAlpn::Http1).await.0.unwrap();
    let error = refused(&acceptor, &given, "b.test").await;
    assert_eq!(error.to_string(), "the backend's certificate is not for b.test, but for a.test");
    refused(&acceptor, &connector(&authority.file), "a.test").await;
    // The same subject and the same kind, but not the same certificate.
    let twin = self_signed_authority(&authority, FROM, TO);
    refused(&Acceptor::new(certificates(&[twin])), &given, "a.test").await;
}

#[tokio::test]
async fn a_self_signed_certificate_that_expired_is_refused_though_it_was_given() {
    let authority = Authority::new();
    let files = self_signed_authority(&authority, 2001, 2002);
    let (served, _) = Certificates::load(&settings(std::slice::from_ref(&files)), year(2030)).unwrap();
    let error = refused(&Acceptor::new(served), &connector(&files.chain), "a.test").await;
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test]
async fn a_certificate_made_on_the_spot_is_trusted_where_it_is_given() {
    let authority = Authority::new();
    let made = Certificates::self_signed(&["localhost", "127.0.0.1", "::1"], Duration::from_secs(30 * 86400)).unwrap();
    let file = authority.write("spot.pem", &made.pem);
    assert_eq!(made.fingerprint.len(), 32 * 3 - 1);
    assert!(made.fingerprint.split(':').all(|byte| u8::from_str_radix(byte, 16).is_ok()), "{}", made.fingerprint);
    let acceptor = Acceptor::new(made.certificates);
    let connector = connector(&file);
    for host in ["localhost", "127.0.0.1", "::1"] {
        connect(&acceptor, &connector, host, ClientAlpn::Both).await.0.expect(host);
    }
    refused(&acceptor, &connector, "example.test").await;
}

#[tokio::test]
async fn a_backend_that_speaks_plain_http_is_told_as_that() {
    let authority = Authority::new();
    let (near, mut far) = pair().await;
    far.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let error = connector(&authority.file).connect(Socket::from(near), "a.test", ClientAlpn::Http1).await.unwrap_err();
    assert_eq!(error.fault, ConnectFault::NotTls);
    assert!(error.to_string().contains("is it http instead of https?"), "{error}");
}

#[tokio::test]
async fn a_backend_that_closes_is_told_as_that() {
    let authority = Authority::new();
    let (near, mut far) = pair().await;
    let connector = connector(&authority.file);
    let close = async {
        far.read_exact(&mut [0; 1]).await.unwrap(); // the handshake has begun
        drop(far);
    };
    let (connected, ()) = tokio::join!(connector.connect(Socket::from(near), "a.test", ClientAlpn::Http1), close);
    let error = connected.unwrap_err();
    assert_eq!(error.fault, ConnectFault::Gone, "{error}");
}

#[tokio::test]
async fn a_backend_without_the_http_version_asked_for_is_told_as_that() {
    let authority = Authority::new();
    let files = authority.issue(&["a.test"]);
    let loaded = load::load(&files, year(2030), &mut Vec::new()).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(loaded.key)));
    config.alpn_protocols = ClientAlpn::H2.names();
    let (near, far) = pair().await;
    let connector = connector(&authority.file);
    let (error, _) = tokio::join!(
        connector.connect(Socket::from(near), "a.test", ClientAlpn::Http1),
        tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(far)
    );
    let error = error.unwrap_err();
    assert_eq!(error.fault, ConnectFault::Refused);
    assert_eq!(error.to_string(), "the backend speaks none of the HTTP versions offered (ALPN)");
}

#[tokio::test]
async fn a_host_that_can_be_in_no_certificate_is_our_mistake() {
    let authority = Authority::new();
    let (near, _far) = pair().await;
    let error = connector(&authority.file).connect(Socket::from(near), "a b", ClientAlpn::Http1).await.unwrap_err();
    assert_eq!(error.fault, ConnectFault::Name);
}

#[tokio::test]
async fn sessions_with_a_backend_are_resumed() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(certificates(&[authority.issue(&["a.test"])]));
    let connector = connector(&authority.file);
    let (near, far) = pair().await;
    let name = ServerName::try_from("a.test").unwrap();
    let (stream, server) = tokio::join!(
        connector.connect(Socket::from(near), "a.test", ClientAlpn::Http1),
        acceptor.accept(Socket::from(far), AMPLE, RecordLayer::Own)
    );
    let ((mut stream, _), mut server) = (stream.unwrap(), server.unwrap());
    server.stream.write_all(b"!").await.unwrap();
    server.stream.flush().await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap(); // the tickets came before it
    let (near, far) = pair().await;
    let (again, _server) =
        tokio::join!(connector.tls.connect(name, near), acceptor.accept(Socket::from(far), AMPLE, RecordLayer::Own));
    assert_eq!(again.unwrap().get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn a_ca_file_that_is_none_is_named() {
    let authority = Authority::new();
    let files = authority.issue(&["a.test"]);
    for (file, fault) in [
        (authority.path("missing.pem"), Fault::Missing),
        (files.key, Fault::NoCertificate { has_key: true }),
        (authority.write("x", "x"), Fault::NotPem { der: false }),
    ] {
        let error = Connector::new(&ClientSettings { ca: Some(file.clone()), ..ClientSettings::default() }).unwrap_err();
        assert_eq!(error, LoadError { file, fault });
    }
}

#[test]
fn the_systems_authorities_are_found_or_their_absence_is_said_with_the_remedy() {
    match Connector::new(&ClientSettings::default()) {
        Ok(_) => assert!(!rustls_native_certs::load_native_certs().certs.is_empty()),
        Err(error) => assert!(error.to_string().contains("ca-certificates"), "{error}"),
    }
}
