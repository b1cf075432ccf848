//! The smallest useful reverse proxy on Pingora: every request goes to one backend.
//!
//! usage: peer-pingora LISTEN TLS_LISTEN BACKEND THREADS CERT KEY

use async_trait::async_trait;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::{Error, HttpPeer, Result, Server, Session};
use pingora::proxy::{ProxyHttp, http_proxy_service};
use pingora::server::configuration::ServerConf;

struct ToBackend {
    address: String,
}

#[async_trait]
impl ProxyHttp for ToBackend {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>, Box<Error>> {
        Ok(Box::new(HttpPeer::new(&self.address, false, String::new())))
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, tls_listen, backend, threads, cert, key] = args.as_slice() else {
        eprintln!("usage: peer-pingora LISTEN TLS_LISTEN BACKEND THREADS CERT KEY");
        std::process::exit(2);
    };

    let conf = ServerConf {
        threads: threads.parse().expect("THREADS must be a number"),
        upstream_keepalive_pool_size: 1024,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();

    let mut service = http_proxy_service(&server.configuration, ToBackend { address: backend.clone() });
    service.add_tcp(listen);
    service.add_tls_with_settings(tls_listen, None, TlsSettings::intermediate(cert, key)?);
    server.add_service(service);
    server.run_forever();
}
