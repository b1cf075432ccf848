//! Running out of open files, in a process of its own, because the limit is the whole process's.
//! One test: a second one beside it would run into the limit too.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use spliceway::listen::{Address, Listener, Settings, raise_open_files};
use tokio::sync::Notify;

/// Collects log lines, and says when one came.
#[derive(Clone, Default)]
struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    written: Arc<Notify>,
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.lock().expect("no panic in here").extend_from_slice(bytes);
        self.written.notify_one();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes every descriptor that is left under a low limit.
fn take_all_files() -> Vec<File> {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: hard }).expect("a lower soft limit is always allowed");
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    assert!(!taken.is_empty());
    taken
}

#[test]
fn accepting_goes_on_after_the_open_files_ran_out() {
    let log = Log::default();
    let lines = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || lines.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).expect("the first in this process");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let address = Address::Ip(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = Listener::bind(&Settings { address, ..Settings::default() }).expect("a free port");
        let Address::Ip(address) = listener.local_address().clone() else { panic!("not an IP address") };
        let client = TcpStream::connect(address).expect("the kernel takes it");

        let taken = take_all_files();
        tokio::select! {
            accepted = listener.accept() => panic!("accepted without a file: {accepted:?}"),
            () = log.written.notified() => {}
        }
        let text = String::from_utf8(log.text.lock().expect("not poisoned").clone()).expect("UTF-8");
        assert!(text.contains("WARN") && text.contains("cannot accept connections"), "{text}");
        assert!(text.contains(&address.to_string()) && text.contains("ulimit -n"), "{text}");

        drop(taken);
        let accepted = listener.accept().await;
        assert_eq!(accepted.peer.to_string(), client.local_addr().expect("connected").to_string());
    });

    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    assert_eq!(raise_open_files(), (64, hard));
    assert_eq!(raise_open_files(), (hard, hard), "and once more changes nothing");
}
