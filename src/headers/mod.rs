//! Pure: the law of header fields: token lists, hop by hop, Host, Forwarded, Content-Length, edits.
//!
//! Functions over `http::HeaderMap` and bytes. Not here: the handshake's own fields (`handshake`).

mod edits;

pub use edits::Edits;
