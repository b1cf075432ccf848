//! Pure: the law of header fields: token lists, hop by hop, Host, Forwarded, Content-Length, edits.
//!
//! Functions over `http::HeaderMap` and bytes. Not here: the handshake's own fields (`handshake`).

mod cookie;
mod edits;
mod forwarded;
mod hop;
mod location;
mod request;
mod response;
mod tokens;

pub use cookie::{cookie, join_cookies, replace_cookie_path};
pub use edits::Edits;
pub use forwarded::{Forwarded, Trust, client_address};
pub use hop::{Stripped, add_te, strip_request, strip_response};
pub use location::{Authorities, rewrite_location};
pub use request::{BadRequest, check_request, effective_host};
pub use response::{BadResponse, check_response};
pub use tokens::{has_token, list_elements, tokens};
