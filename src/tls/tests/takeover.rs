//! From rustls to our own record layer: when a connection can go on without rustls, and that no byte is lost on the way.

use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;
use crate::net::Stream;

/// A server of ours, and what a plain rustls client makes of it.
async fn shaken(versions: &[&'static SupportedProtocolVersion], layer: RecordLayer) -> (Stream, ClientStream) {
    let authority = Authority::new();
    let acceptor = Acceptor::new(certificates(&[authority.issue(&["a.test"])]));
    let mut config = Arc::unwrap_or_clone(authority.client(versions));
    config.alpn_protocols = ClientAlpn::Http1.names();
    let (near, far) = pair().await;
    let name = ServerName::try_from("a.test").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let (server, client) = tokio::join!(acceptor.accept(Socket::from(far), AMPLE, layer), connector.connect(name, near));
    (server.unwrap().stream, client.unwrap())
}

async fn converses(ours: &mut Stream, theirs: &mut ClientStream) {
    for size in [1, 100, 16_384, 100_000] {
        let data = vec![7; size];
        let (sent, mut read) = (data.clone(), vec![0; size]);
        let (written, got) = tokio::join!(
            async {
                ours.write_all(&sent).await?;
                ours.flush().await
            },
            theirs.read_exact(&mut read)
        );
        written.unwrap();
        got.unwrap();
        assert!(read == data);
        let (written, got) = tokio::join!(
            async {
                theirs.write_all(&sent).await?;
                theirs.flush().await
            },
            ours.read_exact(&mut read)
        );
        written.unwrap();
        got.unwrap();
        assert!(read == data);
    }
}

#[tokio::test]
async fn tls_1_3_goes_on_on_our_layer_and_nothing_else_does() {
    for (versions, layer, own) in
        [(&[&TLS13], RecordLayer::Own, true), (&[&TLS13], RecordLayer::Rustls, false), (&[&TLS12], RecordLayer::Own, false)]
    {
        let (ours, mut theirs) = shaken(versions, layer).await;
        let mut ours = ours.into_record_layer();
        assert_eq!(ours.is_on_record_layer(), own);
        assert!(ours.is_tls() && ours.socket().is_some());
        converses(&mut ours, &mut theirs).await;
        theirs.shutdown().await.unwrap();
        assert_eq!(ours.read(&mut [0; 10]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn both_sides_of_ours_go_on_with_each_other() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(certificates(&[authority.issue(&["a.test"])]));
    let settings = ClientSettings { ca: Some(authority.file.clone()), ..ClientSettings::default() };
    let connector = Connector::new(&settings).unwrap();
    for alpn in [ClientAlpn::Http1, ClientAlpn::Both] {
        let (near, far) = pair().await;
        let connect = connector.connect(Socket::from(near), "a.test", alpn);
        let (client, server) = tokio::join!(connect, acceptor.accept(Socket::from(far), AMPLE, RecordLayer::Own));
        let mut client = client.unwrap().0.into_record_layer(); // the tickets are not read yet: it skips them
        let mut server = server.unwrap().stream.into_record_layer();
        let http1 = alpn == ClientAlpn::Http1;
        assert_eq!((client.is_on_record_layer(), server.is_on_record_layer()), (http1, http1), "h2 keeps no secrets");
        for n in 0..50u8 {
            let mut buf = [0; 3];
            client.write_all(&[n; 3]).await.unwrap();
            server.read_exact(&mut buf).await.unwrap();
            server.write_all(&buf).await.unwrap();
            client.read_exact(&mut buf).await.unwrap();
            assert_eq!(buf, [n; 3]);
        }
    }
}

#[tokio::test]
async fn what_came_before_is_not_lost_wherever_it_is() {
    // Of a first message rustls gives out a part; more may be in rustls, in the reader beneath, and in the kernel.
    for (first, more) in [(10, 0), (10, 50), (3000, 3000), (10, 70_000), (20_000, 200_000)] {
        let (mut ours, mut theirs) = shaken(&[&TLS13], RecordLayer::Own).await;
        let data: Vec<u8> = (0..first + more).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let (one, other) = data.split_at(first);
        theirs.write_all(one).await.unwrap();
        let (written, mut read) = (theirs.write_all(other), vec![0; 5]);
        let ((), ours) = tokio::join!(async { written.await.unwrap() }, async {
            ours.read_exact(&mut read).await.unwrap();
            ours.unread(vec![1, 2, 3].into());
            let mut ours = ours.into_record_layer();
            assert!(ours.is_on_record_layer());
            let mut rest = vec![0; 3 + data.len() - 5];
            ours.read_exact(&mut rest).await.unwrap();
            assert!(rest[..3] == [1, 2, 3] && rest[3..] == data[5..]);
            ours
        });
        theirs.flush().await.unwrap();
        drop(ours);
    }
}

#[tokio::test]
async fn an_end_that_rustls_has_seen_is_seen_still() {
    let (mut ours, mut theirs) = shaken(&[&TLS13], RecordLayer::Own).await;
    theirs.write_all(b"first, second").await.unwrap();
    theirs.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await; // so that it is read with the data
    ours.read_exact(&mut [0; 5]).await.unwrap();
    let mut ours = ours.into_record_layer();
    let mut rest = Vec::new();
    ours.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b", second");
    ours.write_all(b"the other half lives").await.unwrap();
    let mut read = [0; 20];
    theirs.read_exact(&mut read).await.unwrap();
}

#[tokio::test]
async fn updates_of_keys_before_are_followed_and_one_that_is_not_answered_keeps_rustls() {
    let (mut ours, mut theirs) = shaken(&[&TLS13], RecordLayer::Own).await;
    for _ in 0..3 {
        theirs.get_mut().1.refresh_traffic_keys().unwrap();
        theirs.write_all(b"x").await.unwrap();
        ours.read_exact(&mut [0]).await.unwrap();
        ours.write_all(b"y").await.unwrap(); // with the answer to the update
        theirs.read_exact(&mut [0]).await.unwrap();
    }
    let mut ours = ours.into_record_layer();
    assert!(ours.is_on_record_layer());
    converses(&mut ours, &mut theirs).await;

    let (mut ours, mut theirs) = shaken(&[&TLS13], RecordLayer::Own).await;
    theirs.get_mut().1.refresh_traffic_keys().unwrap();
    theirs.write_all(b"x").await.unwrap();
    ours.read_exact(&mut [0]).await.unwrap();
    let mut ours = ours.into_record_layer();
    assert!(!ours.is_on_record_layer());
    converses(&mut ours, &mut theirs).await;
}

#[tokio::test]
async fn the_log_of_secrets_listens_to_the_handshake_that_is_polled_and_to_nothing_else() {
    use crate::tls::secrets::{Catcher, catching};
    use rustls::KeyLog;
    let label = "CLIENT_TRAFFIC_SECRET_0";
    assert!(!Catcher.will_log(label));
    Catcher.log(label, &[], &[9; 32]); // goes nowhere
    let ((), none) = catching(async {
        assert!(Catcher.will_log(label) && !Catcher.will_log("EXPORTER_SECRET") && !Catcher.will_log("CLIENT_RANDOM"));
        Catcher.log(label, &[], &[1; 32]);
    })
    .await;
    assert!(none.is_none(), "one of two is none");
    let ((), both) = catching(async {
        Catcher.log(label, &[], &[1; 32]);
        let ((), none) = catching(async { tokio::task::yield_now().await }).await;
        assert!(none.is_none(), "that of another");
    })
    .await;
    assert!(both.is_none());
    let ((), both) = catching(async {
        Catcher.log(label, &[], &[1; 32]);
        tokio::task::yield_now().await;
        Catcher.log("SERVER_TRAFFIC_SECRET_0", &[], &[2; 32]);
    })
    .await;
    assert!(both.is_some());
    assert!(!Catcher.will_log(label));
}
