//! An answer whose head we have read ourselves, read once more by hyper, which frames its body.
//!
//! A handshake is written and its answer's head read without hyper; when the answer is no 101 it is
//! ordinary HTTP after all. hyper then gets the bytes from the start, and believes to have sent the
//! request: what it writes goes nowhere ([`Ear::replay`](super::hearing::Ear::replay)).

use bytes::Bytes;
use http::{Request, Response};
use hyper::client::conn::TrySendError;

use super::answer::AnswerBody;
use super::backend::Lease;
use super::connection::start_http1;
use super::no_body;
use crate::net::{Stream, notice_loss_of};

/// Reads `read` and what follows on `stream` as the answer to a GET. The connection ends with it.
pub async fn replay(lease: Lease, stream: Stream, read: Bytes) -> hyper::Result<Response<AnswerBody>> {
    notice_loss_of(&stream); // it was dialled for a tunnel, which would see to that
    let mut connection = start_http1(stream, &lease.server).await?;
    connection.reusable = false;
    let response = connection.read_answer(read, Request::new(no_body())).await.map_err(TrySendError::into_error)?;
    Ok(response.map(|body| AnswerBody::new(body, lease, Some(connection))))
}
