//! What is asked of a backend in a handshake, over which version of HTTP, and what its word comes to.

use http::header::HOST;
use http::{Method, Request, Response, StatusCode, request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::World;
use super::laws::Prepared;
use super::record::Record;
use super::respond::Failure;
use crate::handshake::{Agreement, AnswerError, AnswerReader, Heard, Offer, PROTOCOL};
use crate::net::Stream;
use crate::upstream::{AnswerBody, Backend, ConnectError, Connected, DialError, Lease, replay};

/// What a backend said to a handshake.
pub(super) enum Said {
    /// Over HTTP/1.1, on a stream of its own.
    Http1(Heard, Stream),
    Http2(Connected),
}

/// What that comes to.
pub(super) enum Judged {
    Tunnel(Agreement, Stream),
    Answer(Response<AnswerBody>),
}

/// What a backend is asked, whichever server it will be.
pub(super) struct Asking<'a> {
    pub(super) offer: &'a Offer,
    pub(super) parts: &'a request::Parts,
    pub(super) prepared: &'a Prepared,
    pub(super) raw: Option<&'a [u8]>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) world: &'a World,
}

impl Asking<'_> {
    /// Asks servers in turn until one says something. A server that cannot be dialled, or closes before the
    /// first byte, has not seen the handshake or does not want it: the next one is asked.
    pub(super) async fn ask(
        &self,
        backend: &Backend,
        cookie: Option<&str>,
        record: &mut Record,
    ) -> Result<(Said, Lease), Failure> {
        let mut tried = Vec::new();
        let mut last = Failure::bad_gateway("the backend has no server");
        while let Some(lease) = backend.pick(cookie, &tried) {
            record.server = Some(lease.server_name().clone());
            match self.ask_one(&lease).await {
                Ok(said) => return Ok((said, lease)),
                Err(Silence::Unseen(failure)) => last = failure,
                Err(Silence::Nonsense(failure)) => return Err(failure),
            }
            tried.push(lease);
        }
        Err(last)
    }

    /// Over HTTP/2 where the server takes it, else over HTTP/1.1.
    async fn ask_one(&self, lease: &Lease) -> Result<Said, Silence> {
        if self.offer.fits_http2()
            && lease.may_connect()
            && let Some(connected) = Box::pin(self.connect(lease)).await?
        {
            return Ok(Said::Http2(connected));
        }
        let stream = lease.dial().await?;
        self.converse(stream, lease).await
    }

    async fn connect(&self, lease: &Lease) -> Result<Option<Connected>, Silence> {
        let bad = || Silence::Nonsense(Failure::bad_gateway("the rewritten target is no target"));
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = self.prepared.target.to_uri().ok_or_else(bad)?;
        *request.headers_mut() = self.parts.headers.clone();
        Offer::fields_over_http2(request.headers_mut());
        request.headers_mut().insert(HOST, self.prepared.host_for(lease));
        Ok(lease.extended_connect(request, PROTOCOL).await?)
    }

    /// Writes the offer and reads the head of the answer; answers before the final one are passed over.
    async fn converse(&self, mut stream: Stream, lease: &Lease) -> Result<Said, Silence> {
        let mut fields = self.parts.headers.clone();
        fields.insert(HOST, self.prepared.host_for(lease));
        let offer = self.offer.request_head(self.prepared.target.as_str(), &mut fields, self.raw, self.key);
        stream.write_all(&offer).await.map_err(|error| Silence::broken(&error))?;
        stream.flush().await.map_err(|error| Silence::broken(&error))?;
        let heads = &self.world.settings.heads;
        let mut reader = AnswerReader::new(heads.bytes, heads.count);
        loop {
            let begun = reader.has_begun();
            match stream.read_buf(reader.room()).await {
                Ok(0) if begun => return Err(AnswerError::Malformed("it broke off".to_owned()).into()),
                Ok(0) => return Err(Silence::closed("it closed the connection before an answer to the handshake")),
                Err(error) if begun => return Err(AnswerError::Malformed(format!("it broke off: {error}")).into()),
                Err(error) => return Err(Silence::broken(&error)),
                Ok(_) => {}
            }
            if let Some(heard) = reader.heard()? {
                return Ok(Said::Http1(heard, stream));
            }
        }
    }
}

/// Why a server said nothing.
enum Silence {
    /// It has not seen the handshake, or does not want it: another one may be asked.
    Unseen(Failure),
    /// It has, and what it did is no answer.
    Nonsense(Failure),
}

impl Silence {
    fn closed(why: &str) -> Self {
        Self::Unseen(Failure::bad_gateway(why))
    }

    fn broken(error: &std::io::Error) -> Self {
        Self::closed(&format!("it broke the connection before an answer to the handshake ({error})"))
    }
}

impl From<DialError> for Silence {
    fn from(error: DialError) -> Self {
        Self::Unseen(Failure::dialling(&error))
    }
}

impl From<ConnectError> for Silence {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Dial(error) => error.into(),
            ConnectError::Unseen(_) => Self::Unseen(Failure::bad_gateway(error)),
            ConnectError::Refused(_) => Self::Nonsense(Failure::bad_gateway(error)),
        }
    }
}

impl From<AnswerError> for Silence {
    fn from(error: AnswerError) -> Self {
        Self::Nonsense(error.into())
    }
}

/// What a backend's word is judged by.
pub(super) struct Judging<'a> {
    pub(super) offer: &'a Offer,
    /// The request as it was sent.
    pub(super) parts: &'a request::Parts,
    pub(super) key: Option<&'a [u8]>,
    pub(super) lease: &'a Lease,
    pub(super) deadline: Instant,
}

impl Judging<'_> {
    pub(super) async fn judge(&self, said: Said) -> Result<Judged, Failure> {
        let (Heard { answer, head, behind }, mut stream) = match said {
            Said::Http2(Connected::Stream(granted, stream)) => {
                return Ok(Judged::Tunnel(self.offer.agree_over_http2(&self.parts.headers, granted)?, stream));
            }
            Said::Http2(Connected::Answer(response)) => return Ok(Judged::Answer(response)),
            Said::Http1(heard, stream) => (heard, stream),
        };
        if answer.status == StatusCode::SWITCHING_PROTOCOLS {
            let agreement = self.offer.agree(&self.parts.headers, self.key, answer)?;
            stream.unread(behind);
            return Ok(Judged::Tunnel(agreement, stream));
        }
        if self.offer.is_over_http2() && answer.status.is_success() {
            return Err(Failure::no_switch(answer.status));
        }
        let read = [head, behind].concat().into();
        match timeout_at(self.deadline, Box::pin(replay(self.lease.clone(), stream, read))).await {
            Ok(Ok(response)) => Ok(Judged::Answer(response)),
            Ok(Err(error)) => Err(Failure::bad_gateway(error)),
            Err(_) => Err(Failure::silent("its answer stopped within its head")),
        }
    }
}
