//! Pure: the law of header fields: token lists, hop by hop, Host, Forwarded, Content-Length, edits.
//!
//! Functions over `http::HeaderMap` and bytes. Not here: the handshake's own fields (`handshake`).

mod cookie;
mod edits;
mod forwarded;
mod hop;
mod host;
mod length;
mod location;
mod request;
mod response;
mod tokens;

pub use cookie::{cookie, replace_cookie_path, rewrite_cookie_paths};
pub use edits::Edits;
pub use forwarded::{Hop, Trust, client_address, set_forwarded};
pub use hop::{Stripped, add_te, strip_request, strip_response};
pub use host::{host_name, is_host};
pub use length::{BadLength, content_length, keep_one_length};
pub use location::{Rewrite, rewrite_location};
pub use request::{BadRequest, check_request, effective_host, is_asterisk, join_cookies, normalise_request, origin_target};
pub use response::{BadResponse, check_response};
pub use tokens::{has_token, list_elements, tokens};
